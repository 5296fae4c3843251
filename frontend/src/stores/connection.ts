import type { CloseInfo, State } from '@rollcall/client'
import { defineStore } from 'pinia'
import { computed, ref, shallowRef, watch } from 'vue'
import { rt } from '@/realtime'
import { useSessionStore } from './session'

/** After these the server knows the session no longer, or shall not: only a new login helps. */
const needsLogin = new Set([4401, 4403, 4410, 4429])

/** The state of the tab's one socket, and the only place that opens and closes it. */
export const useConnectionStore = defineStore('connection', () => {
  const session = useSessionStore()
  const state = ref<State>(rt.state)
  const rtt = ref<number | null>(null)
  const nextRetryAt = ref<number | null>(null)
  /** Why the socket is closed for good; a page of its own says so. */
  const closed = shallowRef<CloseInfo | null>(null)
  const build = ref('')

  const updateAvailable = computed(() => {
    const own = import.meta.env.VITE_BUILD
    return own !== 'dev' && build.value !== '' && build.value !== own
  })

  rt.on('$state', (now) => {
    state.value = now
    rtt.value = rt.rtt
    nextRetryAt.value = rt.nextRetryAt
  })
  rt.on('$rtt', (milliseconds) => (rtt.value = milliseconds))
  rt.on('$open', (connected) => (build.value = connected.build))
  rt.on('auth/changed', () => void session.reload().catch(() => {}))
  rt.on('$closed', (info) => {
    // One's own logout, here or in another tab: the login page says enough.
    closed.value = info.reason === 'loggedOut' ? null : info
    if (needsLogin.has(info.code)) session.clear()
  })

  watch(
    () => (session.needsPassword ? undefined : session.me?.sessionId),
    (sessionId) => {
      if (sessionId) {
        closed.value = null
        rt.connect()
      } else if (!closed.value) {
        rt.close()
      }
    },
    { immediate: true },
  )

  /** Tries at once; after a final close it begins anew. */
  function retry(): void {
    closed.value = null
    rt.connect()
  }

  /** Puts the reason away, on the way to the login page. */
  function dismiss(): void {
    closed.value = null
    rt.close()
  }

  const loginNeeded = computed(() => closed.value !== null && needsLogin.has(closed.value.code))

  return { state, rtt, nextRetryAt, closed, loginNeeded, updateAvailable, retry, dismiss }
})
