import { spawnSync } from 'node:child_process'
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'

const setup = fileURLToPath(new URL('../../scripts/setup.sh', import.meta.url))

// The script's whole PATH: a machine has what a test puts here and nothing else.
let bin: string

beforeEach(() => {
  bin = mkdtempSync(path.join(tmpdir(), 'deltabox-setup-'))
  machineHas('uname', 'echo Linux')
  machineHas('node', 'echo v20.0.0')
  machineHas('npm', 'echo 10.0.0')
})

afterEach(() => rmSync(bin, { recursive: true, force: true }))

function machineHas(command: string, script: string): void {
  const file = path.join(bin, command)
  writeFileSync(file, `#!/bin/sh\n${script}\n`)
  chmodSync(file, 0o755)
}

function runSetup(...args: string[]): { status: number | null; stdout: string; stderr: string } {
  return spawnSync('/bin/bash', [setup, ...args], { env: { PATH: bin }, encoding: 'utf8' })
}

describe('scripts/setup.sh', () => {
  it('refuses a system that is not Linux', () => {
    machineHas('uname', 'echo Darwin')
    expect(runSetup()).toMatchObject({
      status: 1,
      stderr: 'setup: DeltaBox runs on Linux only; this is Darwin.\n',
    })
  })

  it('refuses an old Node and says where to get a newer one', () => {
    machineHas('node', 'echo v18.19.1')
    const { status, stderr } = runSetup()
    expect(status).toBe(1)
    expect(stderr).toContain('is v18.19.1')
    expect(stderr).toContain('https://nodejs.org/en/download')
  })

  it('names what is missing where it cannot install it', () => {
    expect(runSetup('build')).toMatchObject({
      status: 1,
      stdout:
        'setup: missing packages: gcc make pkg-config libc6-dev libseccomp-dev libcbor-dev libxxhash-dev libzstd-dev\n',
      stderr: expect.stringContaining('not a Debian or Ubuntu system'),
    })
  })

  it('asks for the tools of the tests at level test only', () => {
    expect(runSetup('build').stdout).not.toContain('tmux')
    expect(runSetup('test').stdout).toMatch(/python3 git( xfsprogs)? python3-venv procps vim tmux curl/)
    expect(runSetup('check').stdout).toContain('clang-format-14')
  })

  it('asks for what the demo runs, and no more, at level demo', () => {
    expect(runSetup('build').stdout).not.toContain('python3')
    expect(runSetup('demo').stdout).toMatch(/ python3$/m)
  })

  it('asks for what the benchmark runs, and no more, at level bench', () => {
    expect(runSetup('demo').stdout).not.toContain('git')
    // mkfs.xfs is also looked for where a PATH does not lead.
    expect(runSetup('bench').stdout).toMatch(/ python3 git( xfsprogs)?$/m)
  })

  it('is silent on a machine that has everything', () => {
    for (const command of ['gcc', 'make', 'pkg-config']) machineHas(command, 'exit 0')
    expect(runSetup('build')).toMatchObject({ status: 0, stdout: '', stderr: '' })
  })

  it('refuses a level it does not know', () => {
    expect(runSetup('everything')).toMatchObject({
      status: 1,
      stderr: "setup: unknown level 'everything'; one of build, demo, bench, test, check.\n",
    })
  })
})
