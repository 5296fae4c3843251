import { defineStore } from 'pinia'
import { computed, ref } from 'vue'
import { api, type ApiError, ok } from '@/api/client'
import { forgetToken, keepToken, onSessionLost, restore as restoreToken } from '@/api/token'
import type { Me } from '@/api/types'

/** Remembers that a refresh cookie may exist, so that a first visit asks for nothing. It opens no door. */
const HINT = 'rollcall.session'

/** Logging out in one tab logs out all tabs of this browser. */
const tabs = new BroadcastChannel('rollcall.session')

export const useSessionStore = defineStore('session', () => {
  const me = ref<Me | null>(null)
  /** Why the session ended by itself; the page shows it until the next login. */
  const lost = ref<ApiError | null>(null)

  const user = computed(() => me.value?.user ?? null)
  /** Somebody asked for a new password: until there is one, the server answers nothing else. */
  const needsPassword = computed(() => me.value?.mustChangePassword ?? false)
  const can = (permission: string) => !needsPassword.value && (me.value?.permissions.includes(permission) ?? false)

  async function login(username: string, password: string): Promise<void> {
    keepToken(await ok(api.POST('/auth/login', { body: { username, password } })))
    await reload()
    lost.value = null
    localStorage.setItem(HINT, '1')
  }

  /** Picks up the session of an earlier visit; true when there is one. */
  async function restore(): Promise<boolean> {
    if (me.value) return true
    if (!localStorage.getItem(HINT)) return false
    if (await restoreToken()) {
      await reload()
      return true
    }
    localStorage.removeItem(HINT)
    return false
  }

  /** Reads the person and the permissions again, as after a change of role. */
  async function reload(): Promise<void> {
    me.value = await ok(api.GET('/auth/me'))
  }

  /** Throws when the server cannot be told: then one is still logged in, and should know. */
  async function logout(): Promise<void> {
    await ok(api.POST('/auth/logout'))
    tabs.postMessage('logout')
    clear()
  }

  function clear(): void {
    forgetToken()
    localStorage.removeItem(HINT)
    me.value = null
  }

  tabs.onmessage = (message) => message.data === 'logout' && clear()
  onSessionLost((error) => {
    if (me.value) lost.value = error
    clear()
  })

  return { me, user, lost, needsPassword, can, login, restore, reload, logout, clear }
})
