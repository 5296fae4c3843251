import { useClipboard } from '@vueuse/core'
import { useMessage } from 'naive-ui'
import { useI18n } from 'vue-i18n'

/** Copies a text and says so. `legacy`: a page on plain HTTP has no clipboard API. */
export function useCopy() {
  const { copy, copied } = useClipboard({ legacy: true })
  const message = useMessage()
  const { t } = useI18n()
  return async (text: string, done = t('online.copiedText')) => {
    await copy(text).catch(() => {})
    if (copied.value) message.success(done)
    else message.error(t('online.copyFailed'))
  }
}
