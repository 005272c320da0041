import { spawnSync } from 'node:child_process'
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'

const repository = fileURLToPath(new URL('../../', import.meta.url))
const biome = path.join(repository, 'node_modules/.bin/biome')
const daemon = 'packages/daemon/src'

interface Rule {
  readonly folder: string
  readonly refused: readonly string[]
  readonly allowed: readonly string[]
}

const rules: readonly Rule[] = [
  {
    folder: 'packages/protocol/src',
    refused: ['node:fs', 'fs', 'fastify', 'deltabox', '@deltabox/daemon', '../../daemon/src/main.js'],
    allowed: ['typebox', 'typebox/value', './ids.js'],
  },
  {
    folder: 'packages/sdk/src',
    refused: ['fastify', 'commander', '@deltabox/daemon', '@deltabox/cli', '../../protocol/src/index.js'],
    allowed: [
      '@deltabox/protocol',
      '@deltabox/protocol/errors',
      'node:http',
      'node:fs/promises',
      './sandbox.js',
    ],
  },
  {
    folder: 'packages/cli/src',
    refused: ['@deltabox/protocol', '@deltabox/daemon', 'fastify', '../../sdk/src/index.js'],
    allowed: ['deltabox', '@deltabox/bench', 'commander', 'node:tty', './commands/exec.js'],
  },
  {
    folder: 'packages/bench/src',
    refused: ['@deltabox/protocol', '@deltabox/daemon', '@deltabox/cli', 'commander'],
    allowed: ['deltabox', '@deltabox/search', 'node:child_process', './results.js'],
  },
  {
    folder: 'packages/search/src',
    refused: [
      '@deltabox/protocol',
      '@deltabox/daemon',
      'commander',
      'ai',
      'zod',
      'openai',
      '@anthropic-ai/sdk',
    ],
    allowed: ['deltabox', 'node:events', './tree.js'],
  },
  {
    folder: 'packages/search/src/ai-sdk',
    refused: ['@deltabox/protocol', 'openai'],
    allowed: ['deltabox', 'ai', 'zod', '../search.js'],
  },
  {
    folder: 'packages/search/src/langgraph',
    refused: ['@deltabox/protocol', '@langchain/langgraph', 'ai'],
    allowed: ['deltabox', '@langchain/core/runnables', '@langchain/langgraph-checkpoint', './saver.js'],
  },
  {
    folder: daemon,
    refused: ['cborg', 'deltabox', '@deltabox/cli', '../../protocol/src/index.js'],
    allowed: [
      '@deltabox/protocol',
      'fastify',
      './http/server.js',
      './engine/client.js',
      './deltafs/layer.js',
    ],
  },
  {
    folder: `${daemon}/http`,
    refused: ['../engine/client.js', '../deltafs/layer.js', '../deltacr/template.js', 'cborg', 'deltabox'],
    allowed: ['../state/sandbox.js', '../state/engine.js', '@deltabox/protocol', 'fastify'],
  },
  {
    folder: `${daemon}/http/routes`,
    refused: ['../../engine/client.js', '../../deltafs/layer.js', '../../deltacr/template.js'],
    allowed: ['../../state/sandbox.js', '../reply.js'],
  },
  {
    folder: `${daemon}/state`,
    refused: ['../http/server.js', 'cborg', 'deltabox'],
    allowed: ['../deltafs/layer.js', '../deltacr/template.js', '../engine/client.js', 'libsql'],
  },
  {
    folder: `${daemon}/deltafs`,
    refused: ['../deltacr/template.js', '../state/sandbox.js', '../http/server.js', 'cborg'],
    allowed: ['../engine/client.js', './chain.js', 'node:fs/promises'],
  },
  {
    folder: `${daemon}/deltacr`,
    refused: ['../deltafs/layer.js', '../state/sandbox.js', '../http/server.js', 'cborg'],
    allowed: ['../engine/client.js', './pool.js', 'node:fs/promises'],
  },
  {
    folder: `${daemon}/engine`,
    refused: ['../state/sandbox.js', '../http/server.js', '../deltafs/layer.js', '../deltacr/template.js'],
    allowed: ['cborg', './frame.js', 'node:net'],
  },
]

const cases = rules.flatMap(({ folder, refused, allowed }) => [
  ...refused.map((specifier) => ({ folder, specifier, verdict: 'refused' })),
  ...allowed.map((specifier) => ({ folder, specifier, verdict: 'allowed' })),
])
const fileOf = (index: number): string => `${cases[index]?.folder}/case-${index}.ts`

// The overrides of biome.json are relative to it, so a copy of it over a tree of one-line files stands for the house.
let tree: string
let refusedFiles: ReadonlySet<string>

beforeAll(() => {
  tree = mkdtempSync(path.join(tmpdir(), 'deltabox-folder-rules-'))
  copyFileSync(path.join(repository, 'biome.json'), path.join(tree, 'biome.json'))
  for (const [index, { folder, specifier }] of cases.entries()) {
    mkdirSync(path.join(tree, folder), { recursive: true })
    writeFileSync(
      path.join(tree, fileOf(index)),
      `import { a } from '${specifier}'\nexport const b: unknown = a\n`,
    )
  }
  refusedFiles = lint(tree)
})

afterAll(() => rmSync(tree, { recursive: true, force: true }))

function lint(directory: string): ReadonlySet<string> {
  const { stdout, stderr } = spawnSync(
    biome,
    [
      'lint',
      '--vcs-enabled=false',
      '--only=style/noRestrictedImports',
      '--max-diagnostics=none',
      '--reporter=json',
    ],
    { cwd: directory, encoding: 'utf8' },
  )
  if (stdout === '') throw new Error(`biome said nothing: ${stderr}`)
  const report: { diagnostics: { location: { path: string } }[] } = JSON.parse(stdout)
  return new Set(report.diagnostics.map((diagnostic) => diagnostic.location.path))
}

describe('folder rules', () => {
  it.each(cases.map((c, index) => ({ ...c, index })))(
    '$folder: $specifier is $verdict',
    ({ index, verdict }) => {
      expect(refusedFiles.has(fileOf(index)) ? 'refused' : 'allowed').toBe(verdict)
    },
  )
})
