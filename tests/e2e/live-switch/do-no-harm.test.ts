/**
 * Programs that run on through checkpoints, 20 in a second, and never notice: each says at the end whether all is as it would
 * be without them. DELTABOX_TEST_CHECKPOINTS=200 takes more.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { DeltaBoxError } from 'deltabox'
import { beforeAll, describe, expect, it } from 'vitest'
import { type Scene, useStage } from './support/stage.js'

const CHECKPOINTS = Number(process.env.DELTABOX_TEST_CHECKPOINTS ?? 10)
const PERIOD_MS = 50

/** Each runs until /srv/stop is there. What it prints is compared. */
const PROGRAMS: Record<string, string> = {
  logger: `mkdir -p log; exec python3 -c '
import os, time
log, count = open("log/lines", "a"), 0
while not os.path.exists("stop"):
    log.write("line %d\\n" % count); log.flush(); count += 1; time.sleep(0.002)
print(open("log/lines").read() == "".join("line %d\\n" % at for at in range(count)))'`,
  sqlite: `exec python3 -c '
import os, sqlite3
open_ones = []
for mode in ("wal", "delete"):
    one = sqlite3.connect(mode + ".db", timeout=60)
    one.execute("pragma journal_mode=" + mode); one.execute("create table t(i integer primary key, x text)"); one.commit()
    open_ones.append(one)
count = 0
while not os.path.exists("stop"):
    for one in open_ones:
        one.execute("insert into t values(?, ?)", (count, "x" * 100)); one.commit()
    count += 1
print(all(one.execute("select count(*), max(i) from t").fetchone() == (count, count - 1) and one.execute("pragma integrity_check").fetchone() == ("ok",) for one in open_ones))'`,
  git: `mkdir git; cd git; git init -q .; git config user.email a@b; git config user.name x; i=0
while [ ! -e ../stop ]; do
  i=$((i + 1)); mkdir -p d$((i % 7)); echo $i > d$((i % 7))/f$((i % 13)); git add -A && git commit -qm c$i || echo "commit $i failed"
  [ $((i % 10)) = 0 ] && { git checkout -q HEAD~3 && git checkout -q - || echo "checkout $i failed"; }
  [ $((i % 25)) = 0 ] && { git gc -q || echo "gc $i failed"; }
done
git fsck --no-dangling 2>&1; git status --short; [ "$(git log --oneline | wc -l)" = $i ] && echo True`,
  servers: `mkdir web; cd web; echo hello > index.html; exec python3 -c '
import http.server, os, socket, socketserver, threading, urllib.request
class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args): pass
class Hello(socketserver.StreamRequestHandler):
    def handle(self): self.wfile.write(open("index.html", "rb").read())
tcp = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
unix = socketserver.ThreadingUnixStreamServer("socket", Hello)
for server in (tcp, unix): threading.Thread(target=server.serve_forever, daemon=True).start()
count = 0
while not os.path.exists("../stop"):
    assert urllib.request.urlopen("http://127.0.0.1:%d/index.html" % tcp.server_port).read() == b"hello\\n"
    client = socket.socket(socket.AF_UNIX); client.connect("socket"); assert client.recv(100) == b"hello\\n"; client.close()
    count += 1
print(count > 0)'`,
  locks: `exec python3 -c '
import fcntl, os, time
open("counter", "w").write("0")
children = []
for kind in ("flock", "posix"):
    for _ in range(2):
        if (child := os.fork()) == 0:
            counter = open("counter." + kind, "a+"); done = 0
            while not os.path.exists("stop"):
                if kind == "flock": fcntl.flock(counter, fcntl.LOCK_EX)
                else: fcntl.lockf(counter, fcntl.LOCK_EX)
                inside = open("inside." + kind, "x"); time.sleep(0.001); inside.close(); os.unlink("inside." + kind)
                counter.write("x"); counter.flush(); done += 1
                if kind == "flock": fcntl.flock(counter, fcntl.LOCK_UN)
                else: fcntl.lockf(counter, fcntl.LOCK_UN)
                time.sleep(0.0005)
            os._exit(0)
        children.append(child)
print(all(os.waitpid(child, 0)[1] == 0 for child in children))'`,
  make: `mkdir make; cd make; for i in 1 2 3 4 5 6; do echo "int f$i(int x) { return x + $i; }" > f$i.c; done
echo 'int f1(int); int main() { return f1(1) - 2; }' > main.c
printf 'OBJ = main.o f1.o f2.o f3.o f4.o f5.o f6.o\\nprog: $(OBJ)\\n\\tgcc -o $@ $^\\nclean:\\n\\trm -f $(OBJ) prog\\n' > Makefile
while [ ! -e ../stop ]; do make -s -j2 && ./prog && make -s clean || echo failed; done; echo True`,
  watcher: `mkdir watched; exec python3 -c '
import ctypes, os, struct
library = ctypes.CDLL(None); watch = library.inotify_init1(os.O_NONBLOCK)
assert library.inotify_add_watch(watch, b"watched", 0x300) == 1
os.set_blocking(watch, True)
count = 0
while not os.path.exists("stop"):
    seen = []
    open("watched/file", "w").close(); os.unlink("watched/file")
    while len(seen) < 2:
        data = os.read(watch, 4096)
        while data:
            number, mask, cookie, size = struct.unpack("iIII", data[:16]); seen.append((number, mask)); data = data[16 + size:]
    assert seen == [(1, 0x100), (1, 0x200)], seen
    count += 1
print(count > 0)'`,
  deep: `mkdir -p deep/a/b/c/d; cd deep/a/b/c/d; i=0
while [ ! -e /srv/stop ]; do echo $i >> here; i=$((i + 1)); read -r first < here; [ "$first" = 0 ] || echo lost; done; [ $(wc -l < here) = $i ] && echo True`,
  renamer: `until [ -e deep/a/b/c/d/here ]; do sleep 0.01; done; cd deep; while [ ! -e /srv/stop ]; do mv a x; mv x/b x/y; mv x/y x/b; mv x a; done; echo True`,
}

describe('programs that run on through many checkpoints', () => {
  const stage = useStage()
  const ended = new Map<string, { stdout: string; stderr: string }>()
  let scene: Scene

  /** A moment at which something cannot be interrupted is waited for by whoever takes a checkpoint as often as this. */
  async function takeOne(): Promise<void> {
    for (;;) {
      try {
        await scene.checkpoint()
        return
      } catch (error) {
        if (!(error instanceof DeltaBoxError && error.details.passing)) throw error
      }
    }
  }

  beforeAll(async () => {
    scene = await stage.scene()
    const running = Object.entries(PROGRAMS).map(
      ([name, script]) => [name, scene.box.commands.run(['bash', '-c', script], { cwd: '/srv' })] as const,
    )
    const tail = await scene.box.commands.start(
      ['bash', '-c', 'until [ -e log/lines ]; do sleep 0.01; done; exec tail -F -n +1 log/lines'],
      { cwd: '/srv' },
    )
    for (let taken = 0; taken < CHECKPOINTS; taken++) {
      const next = delay(PERIOD_MS)
      await takeOne()
      await next
    }
    await scene.sh('touch /srv/stop')
    for (const [name, result] of running) {
      const { stdout, stderr } = await result
      ended.set(name, { stdout, stderr })
    }
    const lines = await scene.box.files.read('/srv/log/lines')
    let followed = ''
    for await (const piece of tail.stdout) {
      followed += String(piece)
      if (followed.length >= lines.length) break
    }
    await tail.kill()
    ended.set('tail', { stdout: followed === lines ? 'True\n' : followed.slice(-500), stderr: '' })
    await scene.layers.expectUnchanged()
  }, 600_000)

  it.each([...Object.keys(PROGRAMS), 'tail'])('%s', (name) => {
    expect(ended.get(name)).toEqual({ stdout: 'True\n', stderr: '' })
  })
})
