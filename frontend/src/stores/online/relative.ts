// "3 s ago" in the page's language, short enough for a table cell.

const formats = new Map<string, Intl.RelativeTimeFormat>()

/** `seconds` may be negative when the clocks of browser and server differ a little; that is "now". */
export function ago(seconds: number, locale: string): string {
  const whole = Math.max(0, Math.floor(seconds))
  const [value, unit] = largest(whole)
  return format(locale, whole === 0 ? 'auto' : 'always').format(-value, unit)
}

function largest(seconds: number): [number, Intl.RelativeTimeFormatUnit] {
  if (seconds < 60) return [seconds, 'second']
  if (seconds < 3_600) return [Math.floor(seconds / 60), 'minute']
  if (seconds < 172_800) return [Math.floor(seconds / 3_600), 'hour']
  return [Math.floor(seconds / 86_400), 'day']
}

/** `auto` says "now" for zero, and "yesterday" for a day, which is too vague for the rest. */
function format(locale: string, numeric: 'auto' | 'always'): Intl.RelativeTimeFormat {
  const key = `${locale} ${numeric}`
  let found = formats.get(key)
  if (!found) formats.set(key, (found = new Intl.RelativeTimeFormat(locale, { style: 'narrow', numeric })))
  return found
}
