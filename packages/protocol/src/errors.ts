/** Every error a user can meet: its HTTP status, what it means and what to do about it. docs/errors.md is tested against this. */
export interface ErrorEntry {
  readonly status: number
  readonly meaning: string
  readonly remedy: string
}

export const errorCatalogue = {
  invalid_request: {
    status: 400,
    meaning: 'A parameter is missing, unknown or out of range.',
    remedy: 'Correct the parameter the message names; /openapi.json lists what each call takes.',
  },
  unauthorized: {
    status: 401,
    meaning: 'The daemon wants a token and the request carried none, or a wrong one.',
    remedy: 'Set DELTABOX_TOKEN to the token the daemon was started with.',
  },
  not_found: {
    status: 404,
    meaning: 'The API has no such address.',
    remedy: 'Check the path against /openapi.json; the client and the daemon may be of different versions.',
  },
  sandbox_not_found: {
    status: 404,
    meaning: 'No sandbox has this id or name.',
    remedy: 'List the sandboxes with `deltabox ls`.',
  },
  process_not_found: {
    status: 404,
    meaning: 'The sandbox has no process with this id.',
    remedy: 'List its processes with `deltabox ps SANDBOX`.',
  },
  file_not_found: {
    status: 404,
    meaning: 'The path does not exist inside the sandbox.',
    remedy: 'Check the path; relative paths start at the sandbox’s working directory.',
  },
  checkpoint_not_found: {
    status: 404,
    meaning: 'No checkpoint has this id.',
    remedy: 'Look at the checkpoints with `deltabox tree`.',
  },
  base_not_found: {
    status: 400,
    meaning: 'The base is not a directory on this host.',
    remedy:
      'Give --base an existing directory that holds a root file system, or leave it out to use the host’s own.',
  },
  base_unsupported: {
    status: 400,
    meaning: 'The file system of the base (or workspace) cannot be shown inside with shifted user ids.',
    remedy: 'Move it to ext4, XFS, btrfs or tmpfs; `deltabox doctor` checks the default base.',
  },
  workspace_not_found: {
    status: 400,
    meaning: 'The workspace is not a directory on this host.',
    remedy: 'Give --workspace an existing directory.',
  },
  name_taken: {
    status: 409,
    meaning: 'Another sandbox has this name.',
    remedy: 'Choose another name, or remove or rename that sandbox.',
  },
  sandbox_dead: {
    status: 409,
    meaning: 'The sandbox’s processes are gone: its engine or its init ended.',
    remedy:
      'Roll it back to a checkpoint, or remove it with `deltabox rm`; the daemon’s log says what happened.',
  },
  sandbox_busy: {
    status: 409,
    meaning: 'Another operation on this sandbox excludes this one.',
    remedy: 'Wait for the other operation and try again.',
  },
  checkpoint_refused: {
    status: 409,
    meaning:
      'A process of the sandbox holds something that no checkpoint can carry over, so none was taken and it runs on.',
    remedy:
      'End the processes that `details.objects` names, or let them close what it names; then try again.',
  },
  checkpoint_failed: {
    status: 500,
    meaning: 'A step of the checkpoint failed; it was undone and the sandbox runs on as before.',
    remedy: 'The message names the step and the reason; `deltabox doctor` checks the machine.',
  },
  checkpoint_of_other_base: {
    status: 409,
    meaning: 'The checkpoint (or sandbox) does not descend from the same first sandbox.',
    remedy: 'Choose one of the same tree (`deltabox tree SANDBOX`), or fork the checkpoint instead.',
  },
  rollback_failed: {
    status: 500,
    meaning: 'A step of the rollback failed; the sandbox runs on as before.',
    remedy: 'The message names the step and the reason; `deltabox doctor` checks the machine.',
  },
  image_damaged: {
    status: 500,
    meaning:
      'A file that holds processes of the checkpoint is not what was written; the sandbox runs on as before.',
    remedy:
      'The message names the file’s image. Other checkpoints are not affected unless they share it; `deltabox doctor --store` tells which.',
  },
  export_failed: {
    status: 500,
    meaning: 'The checkpoint could not be packed whole; what was written of the file is of no use.',
    remedy: 'The message names the reason. `deltabox doctor --store` tells what is not there any more.',
  },
  import_invalid: {
    status: 422,
    meaning: 'The file is no exported checkpoint, is damaged, or has another format; nothing of it was kept.',
    remedy: 'Export it again and compare the sizes of both files; both hosts need the same version.',
  },
  import_refused: {
    status: 409,
    meaning: 'What the file holds would use more of this host than was agreed to; nothing of it was kept.',
    remedy: 'Give the options that the message names, if that is what you want.',
  },
  fork_failed: {
    status: 500,
    meaning: 'Not all of the sandboxes asked for could be made, so none was.',
    remedy:
      'The message names the reason; ask for fewer, or take those that can be made (`partial`, `--partial`).',
  },
  command_not_found: {
    status: 422,
    meaning: 'The command (or the interpreter its first line names) does not exist inside the sandbox.',
    remedy: 'Check the name and the sandbox’s PATH.',
  },
  command_not_executable: {
    status: 422,
    meaning: 'The command exists but cannot be executed.',
    remedy: 'Check its mode and format; 32-bit programs are not supported.',
  },
  cwd_not_found: {
    status: 422,
    meaning: 'The working directory does not exist inside the sandbox.',
    remedy: 'Create it first, or give another --cwd.',
  },
  user_not_found: {
    status: 422,
    meaning: 'The user to run as does not exist inside the sandbox.',
    remedy: 'Give a name from the sandbox’s /etc/passwd or a number.',
  },
  process_ended: {
    status: 409,
    meaning: 'The process has ended, so it takes no signal, input or size.',
    remedy: 'Nothing needs doing; its output and status can still be read.',
  },
  stdin_closed: {
    status: 409,
    meaning: 'The process does not read standard input (it was started without, closed it or ended).',
    remedy: 'Start the command with standard input open (`-i`, `stdin: true`).',
  },
  timeout: {
    status: 408,
    meaning: 'The command ran longer than its time limit and was killed.',
    remedy: 'Raise the limit or find out what it waits for.',
  },
  aborted: {
    status: 499,
    meaning: 'The caller cancelled the operation.',
    remedy: 'Nothing needs doing.',
  },
  file_exists: {
    status: 409,
    meaning: 'The path exists already.',
    remedy: 'Remove it first or choose another.',
  },
  is_directory: {
    status: 409,
    meaning: 'The path is a directory where a file is wanted.',
    remedy: 'Name a file, or use the call for directories.',
  },
  not_directory: {
    status: 409,
    meaning: 'A component of the path is not a directory.',
    remedy: 'Check the path.',
  },
  directory_not_empty: {
    status: 409,
    meaning: 'The directory is not empty.',
    remedy: 'Remove it with everything in it (`recursive`).',
  },
  not_a_file: {
    status: 409,
    meaning: 'The path is not a regular file (a pipe, socket or device), which the file calls do not open.',
    remedy: 'Use a command inside the sandbox for it.',
  },
  permission_denied: {
    status: 403,
    meaning: 'The sandbox’s root may not do this to the path.',
    remedy: 'Check owner and mode; /proc and /sys are partly read-only.',
  },
  disk_full: {
    status: 507,
    meaning: 'The file system that holds DeltaBox’s data is full.',
    remedy: 'Free space or remove sandboxes (`deltabox rm`), or set DELTABOX_DATA to a larger file system.',
  },
  disk_limit: {
    status: 507,
    meaning: 'The sandbox wrote more than its disk limit, so its processes were killed.',
    remedy: 'Remove files in it, or create it with a larger --disk.',
  },
  limits_unavailable: {
    status: 409,
    meaning: 'The host offers no cgroup controller for a limit that was asked for.',
    remedy: 'Run `deltabox doctor`; create without that limit, or mount the controller.',
  },
  apply_conflict: {
    status: 409,
    meaning:
      'A file of the workspace changed on the host since the sandbox was created, so nothing was applied.',
    remedy: 'Look at the files named; merge by hand with `deltabox cp`, or start again from a new sandbox.',
  },
  no_workspace: {
    status: 409,
    meaning: 'The sandbox was created without a workspace, so there is nothing to apply.',
    remedy: 'Create it with --workspace DIR.',
  },
  engine_failed: {
    status: 500,
    meaning: 'The engine could not carry out a step.',
    remedy: 'The message names the step and the reason; `deltabox doctor` checks the machine.',
  },
  engine_lost: {
    status: 500,
    meaning: 'The engine ended or stopped answering while it worked on this.',
    remedy:
      'Its sandboxes are marked dead; remove them and create new ones. The daemon’s log has its last words.',
  },
  unsupported_system: {
    status: 500,
    meaning: 'This machine lacks something DeltaBox needs.',
    remedy: 'Run `deltabox doctor`; it says what is missing and how to get it.',
  },
  not_built: {
    status: 500,
    meaning: 'The programs of this checkout are not built.',
    remedy: 'Run `make build` in the checkout.',
  },
  tool_missing: {
    status: 500,
    meaning: 'A program of the host that this command runs is not installed.',
    remedy: 'Install the package that the message names and try again.',
  },
  volume_failed: {
    status: 500,
    meaning: 'The image of a volume could not be made or mounted.',
    remedy: 'The message names the step and the reason; what the step before it made was removed.',
  },
  needs_root: {
    status: 403,
    meaning: 'Only root may do this: the daemon makes sandboxes, `deltabox volume` mounts.',
    remedy: 'Run the command with sudo, or point DELTABOX_URL at a running daemon.',
  },
  data_dir_locked: {
    status: 409,
    meaning: 'Another daemon uses this data directory.',
    remedy:
      'Use that daemon, stop it with `deltabox daemon stop`, or set DELTABOX_DATA to another directory.',
  },
  data_dir_invalid: {
    status: 500,
    meaning: 'The data directory cannot be used: not writable, or written by another version.',
    remedy: 'The message says why; set DELTABOX_DATA to another directory.',
  },
  daemon_unreachable: {
    status: 503,
    meaning: 'No daemon answers at the address, or it could not be started.',
    remedy: 'Look at daemon.log in the data directory, or run `deltabox daemon start`.',
  },
  internal: {
    status: 500,
    meaning: 'A fault in DeltaBox itself.',
    remedy: 'Please report it with the daemon’s log.',
  },
} as const satisfies Record<string, ErrorEntry>

export type ErrorCode = keyof typeof errorCatalogue

/** The one error of the public API. `message` says what failed, on what and why; `remedy` what to do. */
export class DeltaBoxError extends Error {
  override readonly name = 'DeltaBoxError'
  readonly code: ErrorCode
  /** Facts a program can use: the path, the sandbox, the step, an errno. */
  readonly details: Readonly<Record<string, unknown>>

  constructor(
    code: ErrorCode,
    message: string,
    options: { cause?: unknown; details?: Record<string, unknown> } = {},
  ) {
    super(message, options.cause === undefined ? {} : { cause: options.cause })
    this.code = code
    this.details = options.details ?? {}
  }

  get status(): number {
    return errorCatalogue[this.code].status
  }

  get remedy(): string {
    return errorCatalogue[this.code].remedy
  }
}
