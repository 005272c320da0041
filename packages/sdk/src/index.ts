export type {
  AppliedChanges,
  Change,
  DoctorReport,
  ErrorCode,
  FileEntry,
  FileStat,
  ProcessInfo,
  SandboxInfo,
  SandboxStats,
  TtySize,
} from '@deltabox/protocol'
export { DeltaBoxError, errorCatalogue } from '@deltabox/protocol/errors'
export { Client, type ClientOptions } from './client.js'
export { CommandHandle } from './command-handle.js'
export {
  type AttachOptions,
  type CommandResult,
  Commands,
  type ExitStatus,
  type RunOptions,
  type StartOptions,
} from './commands.js'
export { doctor } from './doctor.js'
export { Files, type WriteData, type WriteOptions } from './files.js'
export { type CreateOptions, Sandbox } from './sandbox.js'
export { Shell, type ShellResult } from './shell.js'
export { parseSize } from './size.js'
