// @vitest-environment node
import { readFile } from 'node:fs/promises'
import { expect, it } from 'vitest'
import { approved, generate, schema } from '../scripts/api.mjs'

it('schema.d.ts is what `npm run api` makes of the approved OpenAPI document', async () => {
  expect(await readFile(schema, 'utf8')).toBe(await generate(approved))
})
