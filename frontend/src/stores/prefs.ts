import { useMediaQuery, useStorage } from '@vueuse/core'
import { defineStore } from 'pinia'
import { computed, watchEffect } from 'vue'

export const locales = ['zh-CN', 'en'] as const
export type Locale = (typeof locales)[number]
export type Theme = 'auto' | 'light' | 'dark'

const guess: Locale = navigator.language.toLowerCase().startsWith('zh') ? 'zh-CN' : 'en'

/** What a person chose for this browser. Only preferences are stored, never anything that opens a door. */
export const usePrefsStore = defineStore('prefs', () => {
  const theme = useStorage<Theme>('rollcall.theme', 'auto')
  const storedLocale = useStorage<Locale>('rollcall.locale', guess)
  const collapsed = useStorage('rollcall.collapsed', false)

  const systemDark = useMediaQuery('(prefers-color-scheme: dark)')
  const dark = computed(() => (theme.value === 'auto' ? systemDark.value : theme.value === 'dark'))
  // Somebody may have edited the storage by hand.
  const locale = computed<Locale>({
    get: () => (locales.includes(storedLocale.value) ? storedLocale.value : guess),
    set: (value) => (storedLocale.value = value),
  })

  // boot.js does the same before the first paint.
  watchEffect(() => {
    document.documentElement.dataset.theme = dark.value ? 'dark' : 'light'
    document.documentElement.lang = locale.value
  })

  return { theme, locale, collapsed, dark }
})
