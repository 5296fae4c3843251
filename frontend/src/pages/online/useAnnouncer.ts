import { onScopeDispose, ref } from 'vue'
import { useI18n } from 'vue-i18n'
import { useOnlineStore } from '@/stores/online'

/** Every ten seconds one sentence for screen readers, and only when something happened: a list that talks with each row is unusable. */
export function useAnnouncer() {
  const { t } = useI18n()
  const store = useOnlineStore()
  const text = ref('')
  const timer = setInterval(() => {
    const { joined, left } = store.takeNews()
    if (joined || left) text.value = t('online.announce', { joined, left, clients: store.counts.clients })
  }, 10_000)
  onScopeDispose(() => clearInterval(timer))
  return text
}
