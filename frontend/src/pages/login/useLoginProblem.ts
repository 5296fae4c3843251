import { computed, onScopeDispose, ref, shallowRef } from 'vue'
import { useI18n } from 'vue-i18n'
import { ApiError } from '@/api/client'

/** Says why a login failed, and counts down while it may not be tried again. */
export function useLoginProblem() {
  const { t, locale } = useI18n()
  const error = shallowRef<unknown>(null)
  const now = ref(Date.now())
  /** Milliseconds of Date.now(); 0 when nothing forbids another try. */
  const blockedUntil = ref(0)
  const blocked = computed(() => blockedUntil.value > now.value)
  let timer: ReturnType<typeof setInterval> | undefined

  const time = computed(() => {
    const seconds = Math.max(0, Math.ceil((blockedUntil.value - now.value) / 1_000))
    if (seconds >= 3_600) return new Date(blockedUntil.value).toLocaleString(locale.value)
    return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, '0')}`
  })

  const text = computed(() => {
    const failure = error.value
    if (!failure) return ''
    if (failure === 'missing') return t('login.missing')
    if (!(failure instanceof ApiError)) return t('common.failed')
    switch (failure.code) {
      case 'bad_credentials':
        return t('login.badCredentials')
      case 'account_disabled':
        return t('login.disabled')
      case 'locked':
        return blocked.value ? [t('login.locked', { time: time.value }), reason(failure)].filter(Boolean).join(' ') : ''
      case 'rate_limited':
      case 'overloaded':
        return blocked.value ? t('login.rateLimited', { time: time.value }) : failure.message
      case 'network':
        return t('common.network')
      default:
        return failure.message
    }
  })

  /** The server's sentence, unless it only repeats how long. */
  const reason = (failure: ApiError) => (failure.problem.detail && !failure.problem.until ? failure.problem.detail : '')

  function show(failure: unknown) {
    error.value = failure
    clearInterval(timer)
    blockedUntil.value = failure instanceof ApiError ? end(failure) : 0
    now.value = Date.now()
    if (blocked.value) timer = setInterval(tick, 500)
  }

  function tick() {
    now.value = Date.now()
    if (!blocked.value) hide()
  }

  function hide() {
    clearInterval(timer)
    error.value = null
    blockedUntil.value = 0
  }

  onScopeDispose(() => clearInterval(timer))
  return { text, blocked, show, hide }
}

/** `Retry-After` before `until`: it does not depend on the browser's clock. */
function end({ retryAfter, problem }: ApiError): number {
  if (retryAfter) return Date.now() + retryAfter * 1_000
  return Date.parse(problem.until ?? '') || 0
}
