import { PiniaColada } from '@pinia/colada'
import { createPinia } from 'pinia'
import { createApp, watch } from 'vue'
import App from './App.vue'
import { i18n, setLocale } from './locales'
import { router } from './router'
import { usePrefsStore } from './stores/prefs'
import './styles/tokens.css'
import './styles/base.css'
import './styles/table.css'

// A stale tab asks for chunks that a newer build has replaced: one reload fetches the new page.
addEventListener('vite:preloadError', (event) => {
  const last = Number(sessionStorage.getItem('rollcall.reloaded'))
  if (Date.now() - last < 60_000) return
  sessionStorage.setItem('rollcall.reloaded', String(Date.now()))
  event.preventDefault()
  location.reload()
})

const app = createApp(App).use(createPinia()).use(PiniaColada).use(i18n)
const prefs = usePrefsStore()
watch(() => prefs.locale, setLocale)
await setLocale(prefs.locale)
app.use(router).mount('#app')
