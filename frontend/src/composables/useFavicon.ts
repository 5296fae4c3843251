import { watchEffect } from 'vue'

/** Puts a red dot on the tab's icon while `down()` is true. */
export function useFavicon(down: () => boolean): void {
  watchEffect(() => {
    const icon = document.querySelector<HTMLLinkElement>('link[rel="icon"]')
    if (icon) icon.href = down() ? 'favicon-down.svg' : 'favicon.svg'
  })
}
