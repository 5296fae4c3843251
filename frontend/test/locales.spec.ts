// @vitest-environment node
import { expect, it } from 'vitest'
import { messages as en } from '@/locales/en'
import { messages as zh } from '@/locales/zh-CN'

const sources = import.meta.glob<string>('../src/**/*.{vue,ts}', { query: '?raw', import: 'default', eager: true })

type Tree = { [key: string]: string | string[] | Tree }

/** Every text by its key. */
function texts(tree: Tree, prefix = ''): [string, string][] {
  return Object.entries(tree).flatMap(([key, value]) =>
    typeof value === 'string' ? [[prefix + key, value] as [string, string]] : texts(value as Tree, `${prefix}${key}.`),
  )
}

const placeholders = (text: string) => [...new Set(text.match(/\{\w+\}/g))].sort()

it('English has the keys of zh-CN, and no other', () => {
  expect(texts(en as Tree).map(([key]) => key).sort()).toEqual(texts(zh as Tree).map(([key]) => key).sort())
})

it('a text has the same placeholders in both languages', () => {
  const english = new Map(texts(en as Tree))
  for (const [key, text] of texts(zh as Tree)) expect(placeholders(english.get(key) ?? ''), key).toEqual(placeholders(text))
})

it('every key that a component names exists', () => {
  const known = new Set(texts(zh as Tree).map(([key]) => key))
  for (const [file, code] of Object.entries(sources)) {
    for (const [, key] of code.matchAll(/\bt\('([\w.]+)'/g)) expect(known.has(key!), `${key} in ${file}`).toBe(true)
  }
})
