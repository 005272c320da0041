/** The metadata on disk. Opening it takes the directory: one daemon at a time. */
import { open } from 'node:fs/promises'
import { DeltaBoxError } from '@deltabox/protocol'
import Database from 'libsql'
import { AppliedTable } from './applied-table.js'
import { CheckpointTable } from './checkpoint-table.js'
import { type Paths, readDaemonRecord } from './data-dir.js'
import { FamilyTable } from './family-table.js'
import { ImageTable } from './image-table.js'
import { LayerTable } from './layer-table.js'
import { LooseEndTable } from './loose-end-table.js'
import { ProcessTable } from './process-table.js'
import { SandboxTable } from './sandbox-table.js'

const SCHEMA_VERSION = 5
const ROOM_BYTES = 4 * 1024 * 1024
/** Of 4 KiB; less than there is room for in the log. */
const LOG_MAX_PAGES = 900
const LOOK_MS = 100

/** An index costs each checkpoint a page more to write: only what is looked for under way has one. */
const SCHEMA = `
  CREATE TABLE families (
    id TEXT PRIMARY KEY,
    slot INTEGER NOT NULL UNIQUE,
    pid INTEGER,
    start_ticks INTEGER,
    setup TEXT
  );
  CREATE TABLE sandboxes (
    id TEXT PRIMARY KEY,
    name TEXT UNIQUE,
    family TEXT NOT NULL,
    state TEXT NOT NULL,
    reason TEXT,
    head TEXT NOT NULL,
    checkpoint TEXT,
    parent TEXT,
    forked_from TEXT,
    cgroups TEXT NOT NULL,
    retention TEXT,
    created_at INTEGER NOT NULL
  );
  CREATE INDEX sandboxes_by_family ON sandboxes (family);
  CREATE INDEX sandboxes_by_checkpoint ON sandboxes (checkpoint);
  CREATE TABLE layers (
    id TEXT PRIMARY KEY,
    family TEXT NOT NULL,
    parent TEXT,
    state TEXT NOT NULL,
    sandbox TEXT,
    target TEXT,
    bytes INTEGER,
    files INTEGER,
    outdated INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL
  );
  CREATE INDEX layers_by_parent ON layers (parent);
  CREATE INDEX layers_by_target ON layers (target) WHERE target IS NOT NULL;
  CREATE INDEX layers_doomed ON layers (state) WHERE state = 'doomed';
  CREATE TABLE holds (
    holder TEXT NOT NULL,
    layer TEXT NOT NULL,
    PRIMARY KEY (holder, layer)
  );
  CREATE INDEX holds_by_layer ON holds (layer);
  CREATE TABLE checkpoints (
    id TEXT PRIMARY KEY,
    family TEXT NOT NULL,
    sandbox TEXT NOT NULL,
    parent TEXT,
    layer TEXT,
    label TEXT,
    internal INTEGER NOT NULL,
    unchanged INTEGER NOT NULL,
    blocking_usec INTEGER NOT NULL,
    processes INTEGER NOT NULL,
    files INTEGER NOT NULL,
    file_bytes INTEGER,
    memory_bytes INTEGER NOT NULL,
    image TEXT,
    durable INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL
  );
  CREATE INDEX checkpoints_by_parent ON checkpoints (parent);
  CREATE INDEX checkpoints_by_layer ON checkpoints (layer);
  CREATE INDEX checkpoints_by_image ON checkpoints (image);
  CREATE TABLE images (
    id TEXT PRIMARY KEY,
    family TEXT NOT NULL,
    state TEXT NOT NULL,
    reason TEXT,
    in_memory INTEGER NOT NULL,
    to_disk INTEGER NOT NULL,
    disk_bytes INTEGER,
    memory_bytes INTEGER NOT NULL,
    used_at INTEGER NOT NULL
  );
  CREATE TABLE image_needs (
    image TEXT NOT NULL,
    needs TEXT NOT NULL,
    PRIMARY KEY (image, needs)
  );
  CREATE INDEX image_needs_by_need ON image_needs (needs);
  CREATE TABLE processes (
    sandbox TEXT NOT NULL,
    id TEXT NOT NULL,
    pid INTEGER,
    command TEXT NOT NULL,
    state TEXT NOT NULL,
    tty INTEGER NOT NULL,
    waits_for_reader INTEGER NOT NULL,
    deadline INTEGER,
    exit_code INTEGER,
    signal TEXT,
    timed_out INTEGER NOT NULL,
    oom_killed INTEGER NOT NULL,
    disk_killed INTEGER NOT NULL,
    written TEXT,
    started_at INTEGER NOT NULL,
    ended_at INTEGER,
    PRIMARY KEY (sandbox, id)
  );
  CREATE TABLE facts (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
  );
  CREATE TABLE applied (
    sandbox TEXT NOT NULL,
    path TEXT NOT NULL,
    ctime_ns TEXT NOT NULL,
    PRIMARY KEY (sandbox, path)
  );
`

export class Store {
  readonly families: FamilyTable
  readonly sandboxes: SandboxTable
  readonly layers: LayerTable
  readonly checkpoints: CheckpointTable
  readonly images: ImageTable
  readonly processes: ProcessTable
  readonly applied: AppliedTable
  readonly looseEnds: LooseEndTable
  readonly #db: Database.Database
  readonly #log: string
  readonly #rest: NodeJS.Timeout

  constructor(db: Database.Database, file: string) {
    this.#db = db
    this.#log = `${file}-wal`
    this.#rest = foldLogAtRest(db)
    this.families = new FamilyTable(db)
    this.sandboxes = new SandboxTable(db)
    this.layers = new LayerTable(db)
    this.checkpoints = new CheckpointTable(db)
    this.images = new ImageTable(db)
    this.processes = new ProcessTable(db)
    this.applied = new AppliedTable(db)
    this.looseEnds = new LooseEndTable(db)
  }

  /** All of it or, when it throws, nothing. One within another is part of it. */
  transaction<T>(change: () => T): T {
    if (this.#db.inTransaction) return change()
    try {
      return this.#db.transaction(change)()
    } catch (error) {
      this.sandboxes.forgetKnown()
      throw error
    }
  }

  /** What would come of it: it is done, and all of it put back. */
  rehearse<T>(change: () => T): T {
    this.#db.exec('BEGIN')
    try {
      return change()
    } finally {
      this.#db.exec('ROLLBACK')
      this.sandboxes.forgetKnown()
    }
  }

  forgetSandbox(id: string): void {
    this.transaction(() => {
      this.applied.forget(id)
      this.processes.forgetAll(id)
      this.sandboxes.remove(id)
    })
  }

  forgetFamily(id: string): void {
    this.transaction(() => {
      this.images.forgetFamily(id)
      this.layers.forgetFamily(id)
      this.families.remove(id)
    })
    this.sandboxes.forgetKnown()
  }

  /** A power cut takes nothing back of what was written by now: for what is to be removed since. */
  async sync(): Promise<void> {
    const log = await open(this.#log, 'r')
    try {
      await log.sync()
    } finally {
      await log.close()
    }
  }

  /** Notes under which start of the host this is written. Whether it is the one of the time before. */
  isSameBoot(boot: string): boolean {
    const before = this.#db.prepare("SELECT value FROM facts WHERE name = 'boot'").get() as
      | { value: string }
      | undefined
    this.#db.prepare("INSERT OR REPLACE INTO facts (name, value) VALUES ('boot', ?)").run(boot)
    return before === undefined || before.value === boot
  }

  close(): void {
    clearInterval(this.#rest)
    this.#db.close()
  }
}

export async function openStore(paths: Paths): Promise<Store> {
  try {
    const db = new Database(paths.database)
    lock(db)
    migrate(db, paths)
    reserveRoom(db)
    return new Store(db, paths.database)
  } catch (cause) {
    if ((cause as { code?: string }).code !== 'SQLITE_BUSY') throw cause
    throw await lockedBy(paths, cause)
  }
}

/** In exclusive mode the first write takes the file's lock and keeps it until the process ends. */
function lock(db: Database.Database): void {
  db.pragma('locking_mode = EXCLUSIVE')
  db.pragma('journal_mode = WAL')
  // A power cut may lose the last commits, never the order; a killed daemon loses nothing.
  db.pragma('synchronous = NORMAL')
  db.exec('BEGIN IMMEDIATE; COMMIT')
}

function migrate(db: Database.Database, paths: Paths): void {
  const version = (db.prepare('PRAGMA user_version').get() as { user_version: number }).user_version
  if (version === SCHEMA_VERSION) return
  if (version !== 0) {
    throw new DeltaBoxError(
      'data_dir_invalid',
      `cannot use ${paths.database}: it has schema ${version}, this daemon knows ${SCHEMA_VERSION}`,
      { details: { path: paths.database } },
    )
  }
  db.exec(`BEGIN; ${SCHEMA} PRAGMA user_version = ${SCHEMA_VERSION}; COMMIT`)
}

/**
 * Room in both files, so that the store can still be written to, and sandboxes removed, when the disk is full: the log
 * is rewritten from its start after each checkpoint and the database keeps the pages that were freed.
 */
function reserveRoom(db: Database.Database): void {
  db.pragma(`wal_autocheckpoint = ${LOG_MAX_PAGES}`)
  db.exec(`
    CREATE TABLE IF NOT EXISTS room (filler BLOB);
    INSERT INTO room VALUES (zeroblob(${ROOM_BYTES}));
    DELETE FROM room;
  `)
  db.pragma('wal_checkpoint(RESTART)')
}

async function lockedBy(paths: Paths, cause: unknown): Promise<DeltaBoxError> {
  const other = await readDaemonRecord(paths)
  return new DeltaBoxError(
    'data_dir_locked',
    `cannot use ${paths.dataDir}: ${other ? `the daemon with pid ${other.pid} uses it` : 'a daemon that is just starting uses it'}`,
    { cause, details: { path: paths.dataDir, pid: other?.pid ?? null } },
  )
}

/** The log becomes part of the database while nothing else happens: that waits for the disk. */
function foldLogAtRest(db: Database.Database): NodeJS.Timeout {
  const changes = db.prepare('SELECT total_changes() AS count')
  const count = (): number => (changes.get() as { count: number }).count
  let seen = count()
  let folded = seen
  return setInterval(() => {
    const now = count()
    if (now === seen && now !== folded) {
      db.pragma('wal_checkpoint(PASSIVE)')
      folded = now
    }
    seen = now
  }, LOOK_MS).unref()
}
