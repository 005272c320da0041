import { type Command, InvalidArgumentError } from 'commander'
import { type CreateOptions, DeltaBoxError } from 'deltabox'

type Env = Record<string, string>

/** `K=V`, or `K` to take it from this environment. */
export function collectEnv(value: string, sofar: Env = {}): Env {
  const at = value.indexOf('=')
  const name = at < 0 ? value : value.slice(0, at)
  if (name === '') throw new InvalidArgumentError('K=V or K is wanted.')
  const content = at < 0 ? process.env[name] : value.slice(at + 1)
  return content === undefined ? sofar : { ...sofar, [name]: content }
}

/** Of an option that is given several times. */
export function collect(value: string, sofar: readonly string[] = []): string[] {
  return [...sofar, value]
}

export function positive(value: string): number {
  const number = Number(value)
  if (!(number > 0)) throw new InvalidArgumentError('A positive number is wanted.')
  return number
}

export function positiveInteger(value: string): number {
  const number = positive(value)
  if (!Number.isInteger(number)) throw new InvalidArgumentError('A whole number is wanted.')
  return number
}

export interface CreateFlags {
  readonly name?: string
  readonly base?: string
  readonly workspace?: string
  readonly cwd?: string
  readonly env?: Env
  readonly memory?: string
  readonly cpus?: number
  readonly pids?: number
  readonly disk?: string
  readonly net?: string
  readonly mask?: string[]
}

export function addCreateOptions(command: Command): Command {
  return command
    .option('--name <name>', 'a name to address it by')
    .option(
      '--base <path>',
      "host directory with a root file system (default: the host's own, secrets masked)",
    )
    .option('--workspace <dir>', 'host directory shown copy-on-write at the same path')
    .option('--cwd <dir>', 'working directory of commands (default: the workspace, else /root)')
    .option('--env <K=V>', 'environment variable, repeatable; K alone takes it from here', collectEnv)
    .option('--memory <size>', 'memory limit, as 2g or 512m (default: half of the host)')
    .option('--cpus <n>', 'processor limit, as 1.5 (default: none)', positive)
    .option('--pids <n>', 'most processes and threads (default: 2048)', positiveInteger)
    .option('--disk <size>', 'most bytes written (default: 10g)')
    .option('--net <mode>', 'none or host (default: none)')
    .option('--mask <path>', 'one more path of the base to hide, repeatable', collect)
}

export function toCreateOptions(flags: CreateFlags): CreateOptions {
  const { net, ...rest } = flags
  if (net !== undefined && net !== 'none' && net !== 'host') {
    throw new DeltaBoxError('invalid_request', `--net takes none or host, not ${JSON.stringify(net)}`)
  }
  const { name, base, workspace, cwd, env, memory, cpus, pids, disk, mask } = rest
  return {
    ...(name === undefined ? {} : { name }),
    ...(base === undefined ? {} : { base }),
    ...(workspace === undefined ? {} : { workspace }),
    ...(cwd === undefined ? {} : { cwd }),
    ...(env === undefined ? {} : { env }),
    ...(memory === undefined ? {} : { memory }),
    ...(cpus === undefined ? {} : { cpus }),
    ...(pids === undefined ? {} : { pids }),
    ...(disk === undefined ? {} : { disk }),
    ...(mask === undefined ? {} : { mask }),
    ...(net === undefined ? {} : { net }),
  }
}

/** What every command shows at the end of its help. */
export function example(text: string): string {
  return `\nExample:\n  ${text}\n`
}
