import { onScopeDispose, ref, watchEffect } from 'vue'

const title = ref('')

/** What stands before the product's name in the tab while the caller lives: `useTabTitle(() => '(57) Online')`. */
export function useTabTitle(text: () => string): void {
  watchEffect(() => (title.value = text()))
  onScopeDispose(() => (title.value = ''))
}

/** For the shell: the page's title, or the route's own when the page says nothing. */
export function showTabTitle(fallback: () => string): void {
  watchEffect(() => {
    document.title = [title.value || fallback(), 'Rollcall'].filter(Boolean).join(' · ')
  })
}
