/** Languages are lazy chunks: only the one in use is loaded. */
import type { NDateLocale, NLocale } from 'naive-ui'
import { shallowRef } from 'vue'
import { createI18n } from 'vue-i18n'
import type { Locale } from '@/stores/prefs'

const packs = {
  'zh-CN': () => import('./zh-CN'),
  en: () => import('./en'),
}

export const i18n = createI18n({ legacy: false, locale: 'zh-CN', fallbackLocale: false, messages: {}, missingWarn: import.meta.env.DEV })

/** Naive UI's own words and date formats, of the language in use. */
export const naiveLocale = shallowRef<NLocale>()
export const naiveDates = shallowRef<NDateLocale>()

let wanted: Locale

/** Loads a language and switches to it; the last one asked for wins. */
export async function setLocale(locale: Locale): Promise<void> {
  wanted = locale
  const { messages, naive, dates } = await packs[locale]()
  if (wanted !== locale) return
  i18n.global.setLocaleMessage(locale, messages)
  i18n.global.locale.value = locale as never
  naiveLocale.value = naive
  naiveDates.value = dates
}
