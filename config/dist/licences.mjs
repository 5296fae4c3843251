// The licence texts of everything that is inside the binary: licences.mjs TARGET. Crates as `cargo metadata` names them for the
// target (what only tests use is left out), and the packages of the page. Nothing is downloaded: the sources are here already.
import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'

const TEXTS = /^(licen[cs]e|copying|notice|unlicense|copyright)/i
const target = process.argv[2]
const frontend = new URL('../../frontend/', import.meta.url).pathname

/** Files in a folder that hold a licence. */
function texts(folder) {
  const files = readdirSync(folder, { withFileTypes: true }).filter((entry) => entry.isFile() && TEXTS.test(entry.name) && !/\.(rs|js|ts)$/.test(entry.name))
  return files.map(({ name }) => readFileSync(join(folder, name), 'utf8').trimEnd()).sort()
}

function crates() {
  const output = execFileSync('cargo', ['metadata', '--format-version', '1', '--locked', '--filter-platform', target], { maxBuffer: 1 << 28, encoding: 'utf8' })
  const { packages, resolve, workspace_members: own } = JSON.parse(output)
  const nodes = new Map(resolve.nodes.map((node) => [node.id, node]))
  const found = new Set()
  const visit = (id) => {
    if (found.has(id)) return
    found.add(id)
    for (const { pkg, dep_kinds: kinds } of nodes.get(id).deps) if (kinds.some(({ kind }) => kind !== 'dev')) visit(pkg)
  }
  visit(packages.find(({ name }) => name === 'rollcall').id)
  return packages
    .filter(({ id }) => found.has(id) && !own.includes(id))
    .map(({ name, version, license, manifest_path: manifest, repository }) => ({ name, version, license, repository, texts: texts(dirname(manifest)) }))
}

function npmPackages() {
  const { packages } = JSON.parse(readFileSync(join(frontend, 'package-lock.json'), 'utf8'))
  const found = Object.entries(packages)
    .filter(([path, { dev, link }]) => path.includes('node_modules/') && !dev && !link && existsSync(join(frontend, path)))
    .map(([path, { version }]) => {
      const { name, license, repository } = JSON.parse(readFileSync(join(frontend, path, 'package.json'), 'utf8'))
      return { name, version, license, repository: repository?.url ?? repository, texts: texts(join(frontend, path)) }
    })
  // One that is installed in two places is one work.
  return [...new Map(found.map((it) => [`${it.name} ${it.version}`, it])).values()]
}

/** Some ship no text; the one that their manifest names, with themselves as authors. */
function standard({ name, license, repository }) {
  const own = (file) => readFileSync(new URL(`../../${file}`, import.meta.url), 'utf8')
  const authors = `Copyright (c) the authors of ${name}${repository ? `, ${repository}` : ''}`
  if (/\bMIT\b/.test(license)) return own('LICENSE-MIT').replace(/^Copyright.*$/m, authors).trimEnd()
  if (/\bApache-2\.0\b/.test(license)) return `${authors}\n\n${own('LICENSE-APACHE').trimEnd()}`
  throw new Error(`${name} ships no text of its licence ${license}; add the text to licences.mjs`)
}

function section(title, things) {
  const lines = [`${title}\n${'='.repeat(title.length)}\n`]
  // Most texts are the same; each stands once, below the names it belongs to.
  const groups = new Map()
  for (const thing of things.sort((a, b) => (a.name < b.name ? -1 : 1))) {
    if (!thing.license && !thing.texts.length) throw new Error(`${thing.name} ${thing.version} names no licence`)
    const text = thing.texts.join('\n\n') || standard(thing)
    groups.set(text, [...(groups.get(text) ?? []), thing])
  }
  for (const [text, members] of groups) {
    lines.push(members.map(({ name, version, license }) => `${name} ${version} (${license ?? 'see below'})`).join('\n'), '', text, '', '-'.repeat(80), '')
  }
  return lines.join('\n')
}

console.log('Rollcall itself is licensed as LICENSE says. It contains these works of others.\n')
console.log(section('Rust crates', crates()))
console.log(section('Packages in the page', npmPackages()))
