/** Programs that people run, unchanged: after a rollback, and in forks, each answers as it did then. */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { linesOf } from '@deltabox/bench/inside'
import { Client, type CommandHandle, Sandbox } from 'deltabox'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { TestDaemon } from '../e2e/support/daemon.js'

interface Program {
  /** What is run and waited for first: a server that goes on in the background. */
  readonly prepare?: string
  /** A program that takes lines. */
  readonly session: string
  /** Lines without an answer. */
  readonly begin?: readonly string[]
  readonly change: readonly string[]
  /** A line with one line as the answer. */
  readonly ask: string
  readonly before: string
  readonly after: string
}

const directory = fileURLToPath(new URL('programs/', import.meta.url))

const programs: Record<string, Program> = {
  'bash with functions, traps and a job': {
    session: 'bash',
    begin: [
      'x=1; n=0; f() { echo "$x $n $(jobs -r | wc -l)"; }',
      "trap 'n=$((n + 1))' USR1",
      'sleep 1000 & job=$!',
      'kill -USR1 $$',
    ],
    ask: 'f',
    before: '1 1 1',
    change: ['kill $job; wait $job; x=$?', 'kill -USR1 $$'],
    after: '143 2 0',
  },
  'python with 200 MB, a file, a thread and an event loop': {
    session: 'python3 /opt/session.py',
    begin: [
      'import asyncio, threading, time',
      'data = [str(i) * 15 for i in range(1_600_000)]',
      'log = open("/srv/log", "w+"); print("one", file=log, flush=True)',
      'ticks = 0',
      'async def tick():\\n  global ticks\\n  while True:\\n    await asyncio.sleep(0.002)\\n    ticks += 1',
      'loop = asyncio.new_event_loop(); threading.Thread(target=loop.run_forever, daemon=True).start()',
      'task = asyncio.run_coroutine_threadsafe(tick(), loop)',
    ],
    ask: 'seen = ticks; time.sleep(0.1); print(len(data), data[5][:4], log.tell(), open("/srv/log").read().split(), ticks > seen)',
    before: "1600000 5555 4 ['one'] True",
    change: ['del data[100:]; data[5] = "five"', 'print("two", file=log, flush=True)'],
    after: "100 five 8 ['one', 'two'] True",
  },
  'a pool of python processes': {
    session: 'python3 /opt/session.py',
    begin: [
      'import multiprocessing, os',
      'value = multiprocessing.Value("i", 7)',
      'import __main__',
      'def work(n):\\n  with value.get_lock():\\n    value.value += n\\n  return os.getpid()',
      '__main__.work = work; __main__.value = value',
      'pool = multiprocessing.Pool(3); queue = multiprocessing.Queue(); queue.put("first")',
      'pool.map(work, [1, 1, 1])',
    ],
    ask: 'print(value.value, len(set(pool.map(work, [0] * 30, 1))) <= 3, queue.qsize())',
    before: '10 True 1',
    change: ['pool.map(work, [10, 20])', 'queue.get()'],
    after: '40 True 0',
  },
  'node with a timer, a server and a worker': {
    session: 'node /opt/session.js',
    ask: 'Promise.all([tick(), get("/"), add(0)]).then((all) => all.join())',
    before: 'true,0,0',
    change: ['Promise.all([get("/add"), add(5)]).then(() => console.error("changed"))'],
    after: 'true,1,5',
  },
  'redis under writes': {
    prepare: `redis-server --port 6379 --unixsocket /srv/redis.sock --save '' --daemonize yes --dir /srv >/srv/redis.log
      until redis-cli ping 2>/dev/null; do sleep 0.05; done
      redis-cli set kept yes; redis-benchmark -q -c 5 -n 100000000 -t incr -r 100 >/dev/null 2>&1 &`,
    session: 'redis-cli -s /srv/redis.sock | grep --line-buffered -v OK',
    ask: 'get kept',
    before: 'yes',
    change: ['set kept no'],
    after: 'no',
  },
  'nginx with workers': {
    prepare: `mkdir -p /srv/www && echo one >/srv/www/index.html
      cat >/srv/nginx.conf <<'END'
      worker_processes 2; pid /srv/nginx.pid; error_log /srv/error.log;
      events { worker_connections 64; }
      http { access_log /srv/access.log; server { listen 127.0.0.1:8080; root /srv/www; keepalive_requests 100000; } }
END
      nginx -c /srv/nginx.conf`,
    session: 'python3 /opt/session.py',
    begin: [
      'import http.client; kept = http.client.HTTPConnection("127.0.0.1", 8080)',
      'def get(c):\\n  c.request("GET", "/"); return c.getresponse().read().decode().strip()',
    ],
    ask: 'print(get(kept), get(http.client.HTTPConnection("127.0.0.1", 8080)))',
    before: 'one one',
    change: ['file = open("/srv/www/index.html", "w"); file.write("two"); file.close()'],
    after: 'two two',
  },
  'sqlite in a transaction': {
    session: 'sqlite3 /srv/data.db',
    begin: [
      'create table t (x); insert into t values (1);',
      'begin immediate; insert into t values (2), (3);',
    ],
    ask: 'select count(*), sum(x) from t;',
    before: '3|6',
    change: ['rollback;'],
    after: '1|1',
  },
  'PostgreSQL with a client in a transaction': {
    prepare: `mkdir /srv/pg && chown postgres /srv/pg
      su postgres -s /bin/sh -c 'PATH=$PATH:$(echo /usr/lib/postgresql/*/bin); cd /srv/pg
        initdb -D data -N >/dev/null && pg_ctl -D data -w -o "-k /srv/pg -c listen_addresses=127.0.0.1" -l log start >/dev/null'`,
    session: `cd /srv; su postgres -s /bin/sh -c 'exec psql -h /srv/pg -Atq postgres'`,
    begin: [
      'create table t (x int); insert into t values (1);',
      'begin; insert into t values (2), (3); savepoint s;',
    ],
    ask: 'select count(*), sum(x) from t;',
    before: '3|6',
    change: ['delete from t; commit;'],
    after: '0|',
  },
  'tmux with a shell': {
    prepare: `tmux -S /srv/tmux new-session -d -x 80 -y 24 'PS1= sh'; tmux -S /srv/tmux send-keys 'x=one; y=1' Enter; sleep 0.3`,
    session: 'bash',
    begin: [
      'say() { tmux -S /srv/tmux send-keys "$@" Enter; sleep 0.3; }',
      'see() { tmux -S /srv/tmux clear-history; say "clear; echo got \\$x"; tmux -S /srv/tmux capture-pane -p | grep ^got; }',
    ],
    ask: 'see',
    before: 'got one',
    change: ['say x=two'],
    after: 'got two',
  },
  'a Go program': {
    session: '/opt/session-go',
    ask: 'get',
    before: 'count 0 0 104 true',
    change: ['add', 'add'],
    after: 'count 2 2 104 true',
  },
  'a Java program': {
    session: 'java -Xmx64m -cp /opt Session',
    ask: 'get',
    before: '0 0 true',
    change: ['add'],
    after: '1000 1000 true',
  },
}

/** One program in one sandbox. */
class Talk {
  readonly #handle: CommandHandle
  readonly #program: Program
  readonly #lines: AsyncIterator<string>

  constructor(handle: CommandHandle, program: Program) {
    this.#handle = handle
    this.#program = program
    this.#lines = linesOf(handle)
  }

  async say(lines: readonly string[] = []): Promise<void> {
    for (const line of lines) {
      await this.#handle.sendStdin(`${line}\n`).catch(async (cause: unknown) => {
        throw new Error(`it does not listen: ${await errorsOf(this.#handle)}`, { cause })
      })
    }
  }

  async ask(): Promise<string> {
    await this.say([this.#program.ask])
    const { value, done } = await this.#lines.next()
    if (done) throw new Error(`it has ended: ${await errorsOf(this.#handle)}`)
    return value
  }

  async in(kid: Sandbox): Promise<Talk> {
    return new Talk(await kid.commands.connect(this.#handle.process), this.#program)
  }
}

async function errorsOf(handle: CommandHandle): Promise<string> {
  let text = ''
  for await (const piece of handle.stderr) text += piece
  return text
}

let daemon: TestDaemon
let client: Client
let built: string

beforeAll(async () => {
  daemon = await TestDaemon.start()
  client = new Client({ url: daemon.url })
  built = mkdtempSync(path.join(tmpdir(), 'dbx-programs-'))
  execFileSync('go', ['build', '-o', path.join(built, 'session-go'), path.join(directory, 'session.go')])
  execFileSync('javac', ['-d', built, path.join(directory, 'Session.java')])
})

afterAll(async () => {
  rmSync(built, { recursive: true, force: true })
  await daemon.clean()
})

async function install(box: Sandbox): Promise<void> {
  for (const file of ['session.py', 'session.js'])
    await box.files.write(`/opt/${file}`, readFileSync(path.join(directory, file)))
  await box.files.write('/opt/session-go', readFileSync(path.join(built, 'session-go')), { mode: 0o755 })
  await box.files.write('/opt/Session.class', readFileSync(path.join(built, 'Session.class')))
}

async function begin(box: Sandbox, program: Program): Promise<Talk> {
  await install(box)
  if (program.prepare) {
    const { exitCode, stderr } = await box.commands.run(program.prepare)
    expect(exitCode, stderr).toBe(0)
  }
  const talk = new Talk(await box.commands.start(program.session, { stdin: true }), program)
  await talk.say(program.begin)
  return talk
}

describe.each(Object.entries(programs))('%s', (_, program) => {
  it('is as it was after rollbacks and in forks', async () => {
    const box = await Sandbox.create({ client })
    const talk = await begin(box, program)
    expect(await talk.ask()).toBe(program.before)
    const checkpoint = await box.checkpoint()
    for (let round = 0; round < 3; round++) {
      await talk.say(program.change)
      expect(await talk.ask()).toBe(program.after)
      await box.rollback(checkpoint)
      expect(await talk.ask()).toBe(program.before)
    }
    const kids = await checkpoint.fork(2)
    const [one, two] = await Promise.all(kids.map((kid) => talk.in(kid)))
    if (!one || !two) throw new Error('no forks')
    await one.say(program.change)
    expect(await one.ask()).toBe(program.after)
    expect(await two.ask()).toBe(program.before)
    await two.say(program.change)
    expect(await two.ask()).toBe(program.after)
    for (const each of [...kids, box]) await each.kill({ checkpoints: true })
  })
})
