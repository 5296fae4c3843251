import { useNotification } from 'naive-ui'
import { onScopeDispose } from 'vue'
import { useI18n } from 'vue-i18n'
import { rt } from '@/realtime'

const kinds = { info: 'info', success: 'success', warning: 'warning', warn: 'warning', error: 'error' } as const

/** Shows messages that reach this page as toasts: text only, since another person wrote them. Urgent ones stay. */
export function useNotices() {
  const toast = useNotification()
  const { t } = useI18n()
  onScopeDispose(
    rt.on('notice', (data) => {
      const notice = (data ?? {}) as { title?: unknown; content?: unknown; severity?: unknown }
      const kind = kinds[String(notice.severity) as keyof typeof kinds] ?? 'info'
      toast[kind]({
        title: text(notice.title, 80) || t('online.notice.from'),
        content: text(notice.content, 1_000),
        duration: kind === 'error' ? undefined : 8_000,
        keepAliveOnHover: true,
      })
    }),
  )
}

function text(value: unknown, most: number): string {
  return typeof value === 'string' ? value.slice(0, most) : ''
}
