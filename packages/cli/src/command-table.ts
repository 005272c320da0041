import type { Command } from 'commander'

interface CommandEntry {
  readonly name: string
  load(): Promise<{ command(): Command }>
}

/** In the order of the help text. */
export const commandTable: readonly CommandEntry[] = [
  { name: 'doctor', load: () => import('./commands/doctor.js') },
  { name: 'create', load: () => import('./commands/create.js') },
  { name: 'run', load: () => import('./commands/run.js') },
  { name: 'exec', load: () => import('./commands/exec.js') },
  { name: 'shell', load: () => import('./commands/shell.js') },
  { name: 'ps', load: () => import('./commands/ps.js') },
  { name: 'logs', load: () => import('./commands/logs.js') },
  { name: 'kill', load: () => import('./commands/kill.js') },
  { name: 'checkpoint', load: () => import('./commands/checkpoint.js') },
  { name: 'rollback', load: () => import('./commands/rollback.js') },
  { name: 'fork', load: () => import('./commands/fork.js') },
  { name: 'promote', load: () => import('./commands/promote.js') },
  { name: 'diff', load: () => import('./commands/diff.js') },
  { name: 'tree', load: () => import('./commands/tree.js') },
  { name: 'prune', load: () => import('./commands/prune.js') },
  { name: 'retention', load: () => import('./commands/retention.js') },
  { name: 'export', load: () => import('./commands/export.js') },
  { name: 'import', load: () => import('./commands/import.js') },
  { name: 'apply', load: () => import('./commands/apply.js') },
  { name: 'cp', load: () => import('./commands/cp.js') },
  { name: 'ls', load: () => import('./commands/ls.js') },
  { name: 'rm', load: () => import('./commands/rm.js') },
  { name: 'rename', load: () => import('./commands/rename.js') },
  { name: 'bench', load: () => import('./commands/bench.js') },
  { name: 'volume', load: () => import('./commands/volume.js') },
  { name: 'daemon', load: () => import('./commands/daemon.js') },
]
