import { onScopeDispose, ref, shallowRef } from 'vue'
import { useI18n } from 'vue-i18n'
import type { Why } from '@/api/types'
import { serverNow } from '@/composables/useNow'
import { fetchWhy } from '@/stores/online/api'
import { whySentence } from '@/stores/online/why'

/** Long enough that a pointer moving down the list asks once per person, short enough to be true. */
const freshMs = 5_000
const cacheLimit = 100
const cache = new Map<string, { at: number; answer: Promise<Why> }>()

export function readWhy(userId: string): Promise<Why> {
  const known = cache.get(userId)
  if (known && Date.now() - known.at < freshMs) return known.answer
  if (cache.size >= cacheLimit) cache.clear()
  const answer = fetchWhy(userId)
  cache.set(userId, { at: Date.now(), answer })
  // A failure is not worth remembering.
  answer.catch(() => cache.delete(userId))
  return answer
}

/** The one popover of the list that says why somebody is online, moved to whichever dot is pointed at. */
export function useWhy() {
  const { t, locale } = useI18n()
  const shown = ref(false)
  const place = shallowRef({ x: 0, y: 0 })
  const sentence = ref('')
  let timer: ReturnType<typeof setTimeout> | undefined
  let asked = ''

  function point(element: HTMLElement, userId: string) {
    clearTimeout(timer)
    // A pointer that only passes by asks nothing.
    timer = setTimeout(() => void open(element, userId), 250)
  }

  async function open(element: HTMLElement, userId: string) {
    const box = element.getBoundingClientRect()
    if (!box.width) return
    asked = userId
    place.value = { x: box.left + box.width / 2, y: box.bottom }
    sentence.value = t('online.why.loading')
    shown.value = true
    const text = await readWhy(userId).then((why) => whySentence(why, t, locale.value, serverNow()), () => t('online.why.failed'))
    if (asked === userId) sentence.value = text
  }

  function leave() {
    clearTimeout(timer)
    asked = ''
    shown.value = false
  }

  onScopeDispose(leave)
  return { shown, place, sentence, point, leave }
}
