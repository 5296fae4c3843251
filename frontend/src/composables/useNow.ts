import { computed, onScopeDispose, readonly, ref } from 'vue'

// One clock for every relative time on the page: ten thousand timers would be ten thousand wake-ups.
const browserNow = ref(Date.now())
const skewMs = ref(0)
const now = computed(() => Math.floor((browserNow.value + skewMs.value) / 1_000))
let users = 0
let timer: ReturnType<typeof setInterval> | undefined

/** The server's time in Unix seconds, new every second. */
export function useNow() {
  users += 1
  browserNow.value = Date.now()
  timer ??= setInterval(() => (browserNow.value = Date.now()), 1_000)
  onScopeDispose(() => {
    users -= 1
    if (users > 0) return
    clearInterval(timer)
    timer = undefined
  })
  return readonly(now)
}

/** The server's time in Unix seconds, right now. */
export const serverNow = () => Math.floor((Date.now() + skewMs.value) / 1_000)

/**
 * Learns how far the browser's clock is from the server's; `asOf` is RFC 3339. Differences below two seconds are the
 * way of the answer, and correcting them would make times jump.
 */
export function noteServerTime(asOf: string) {
  const skew = Date.parse(asOf) - Date.now()
  if (Number.isFinite(skew)) skewMs.value = Math.abs(skew) < 2_000 ? 0 : skew
}
