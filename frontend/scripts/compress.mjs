// After a build: a brotli copy beside every file that gains from it, then the budget of what a visitor downloads.
import { readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { brotliCompress, constants } from 'node:zlib'

const dist = fileURLToPath(new URL('../dist', import.meta.url))
const KIB = 1024
const budget = { initial: 230 * KIB, total: 500 * KIB }

const brotli = promisify(brotliCompress)
const options = { params: { [constants.BROTLI_PARAM_QUALITY]: constants.BROTLI_MAX_QUALITY } }

/**
 * Writes `file.br` for a file over 1 KiB that shrinks by a tenth or more; returns the bytes on the wire. The server
 * fills in index.html for each request, so that one has no copy.
 */
async function compress(file) {
  const raw = await readFile(file)
  if (raw.length <= KIB || file.endsWith('index.html')) return raw.length
  const small = await brotli(raw, options)
  if (small.length > raw.length * 0.9) return raw.length
  await writeFile(`${file}.br`, small)
  return small.length
}

/** What index.html loads by itself, with everything its modules import statically. */
async function initialFiles() {
  const html = await readFile(join(dist, 'index.html'), 'utf8')
  const waiting = [...html.matchAll(/(?:src|href)="\.?\/?([^"]+\.js)"/g)].map(([, file]) => file)
  const found = new Set()
  for (const file of waiting) {
    if (found.has(file)) continue
    found.add(file)
    const code = await readFile(join(dist, file), 'utf8')
    const imports = code.matchAll(/(?:^|;|\})import\s*(?:[\w$*{][^"';]*?from\s*)?"\.\/([^"]+\.js)"/g)
    waiting.push(...[...imports].map(([, name]) => `assets/${name}`))
  }
  return found
}

// The server tells open pages this id, so that they can offer to load anew after an update.
await writeFile(join(dist, 'build.txt'), `${process.env.ROLLCALL_BUILD ?? 'dev'}\n`)

const names = (await readdir(dist, { recursive: true })).filter((name) => !name.endsWith('.br'))
const sizes = new Map()
for (const name of names) {
  const file = join(dist, name)
  if ((await stat(file)).isFile()) sizes.set(name, await compress(file))
}

const initial = await initialFiles()
const sum = (chosen) => chosen.reduce((total, name) => total + (sizes.get(name) ?? 0), 0)
const totals = { initial: sum([...initial]), total: sum([...sizes.keys()]) }
for (const [what, bytes] of Object.entries(totals)) {
  const line = `${what.padEnd(8)}${(bytes / KIB).toFixed(1).padStart(7)} KiB brotli of ${budget[what] / KIB} KiB`
  if (bytes > budget[what]) {
    console.error(`${line}: over the budget`)
    process.exitCode = 1
  } else {
    console.log(line)
  }
}
