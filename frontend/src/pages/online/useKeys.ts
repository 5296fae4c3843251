import { useEventListener } from '@vueuse/core'

/** Keys that work anywhere on the page, but not while somebody types or a dialog is open. */
export function useKeys(keys: Record<string, () => void>) {
  useEventListener(window, 'keydown', (event) => {
    const target = event.target as HTMLElement
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return
    if (target.matches('input:not([type=checkbox]), textarea, select, [contenteditable=true]') || document.querySelector('[role=dialog]')) return
    const act = keys[event.key]
    if (!act) return
    event.preventDefault()
    act()
  })
}
