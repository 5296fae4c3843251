// "3 d 4 h" in the page's language: the two largest units, since nobody needs the seconds of a week.

const units = [['day', 86_400], ['hour', 3_600], ['minute', 60], ['second', 1]] as const

export function duration(seconds: number, locale: string): string {
  let rest = Math.max(0, Math.floor(seconds))
  const first = Math.max(0, units.findIndex(([unit, length]) => rest >= length || unit === 'second'))
  const parts = units.slice(first, first + 2).map(([unit, length]) => {
    const amount = Math.floor(rest / length)
    rest %= length
    return { unit, amount }
  })
  return parts.filter(({ amount }, place) => amount > 0 || place === 0).map(({ unit, amount }) => format(amount, unit, locale)).join(' ')
}

function format(amount: number, unit: string, locale: string): string {
  return new Intl.NumberFormat(locale, { style: 'unit', unit, unitDisplay: 'short' }).format(amount)
}
