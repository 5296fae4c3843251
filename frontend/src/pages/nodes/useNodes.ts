import { useIntervalFn } from '@vueuse/core'
import { shallowRef } from 'vue'
import type { Node } from '@/api/types'
import { fetchNodes } from './api'

/** Between two looks, in milliseconds. */
const PERIOD = 2_000

/** The nodes as of the last answer, read again every two seconds while somebody looks at the page. */
export function useNodes() {
  const nodes = shallowRef<Node[]>()
  const error = shallowRef<unknown>(null)
  let asking = false

  async function refresh() {
    // A slow answer is waited for and not asked for again beside it.
    if (asking) return
    asking = true
    try {
      nodes.value = await fetchNodes()
      error.value = null
    } catch (cause) {
      error.value = cause
    } finally {
      asking = false
    }
  }

  useIntervalFn(() => document.visibilityState === 'visible' && void refresh(), PERIOD, { immediateCallback: true })
  return { nodes, error, refresh }
}
