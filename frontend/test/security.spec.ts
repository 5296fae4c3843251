// @vitest-environment node
import { expect, it } from 'vitest'
import boot from '../public/boot.js?raw'
import index from '../index.html?raw'

const sources = import.meta.glob<string>('../src/**/*.{vue,ts}', { query: '?raw', import: 'default', eager: true })

it('index.html has the two places that the server fills in', () => {
  expect(index).toContain('<base href="/">')
  expect(index).toContain('<meta property="csp-nonce" nonce="__CSP_NONCE__">')
})

it('index.html has no inline script, style or handler', () => {
  for (const [tag] of index.matchAll(/<script\b[^>]*>/g)) expect(tag).toContain('src=')
  expect(index).not.toMatch(/<style|\sstyle=|\son\w+=/)
})

it('nothing of the page writes HTML or runs text as code', () => {
  for (const [file, code] of Object.entries({ ...sources, 'boot.js': boot })) {
    expect(code, file).not.toMatch(/v-html|innerHTML|outerHTML|insertAdjacentHTML|\beval\(|new Function/)
  }
})

it('no token is put into the storage or an address', () => {
  for (const [file, code] of Object.entries(sources)) {
    expect(code, file).not.toMatch(/(localStorage|sessionStorage|useStorage).*[tT]oken/)
    expect(code, file).not.toMatch(/[?&](authorization|token|access_token)=/)
  }
})
