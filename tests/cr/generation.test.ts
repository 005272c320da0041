/** /run/deltabox/generation tells a program that it is another copy than the one it was. */
import { Sandbox } from 'deltabox'
import { expect, it } from 'vitest'
import { useDaemon } from '../e2e/support/use-daemon.js'

const the = useDaemon()

const FILE = '/run/deltabox/generation'

const generationOf = async (box: Sandbox): Promise<string> => (await box.commands.run(['cat', FILE])).stdout

it('is another one after each rollback and in each fork, and the same through checkpoints', async () => {
  const box = await Sandbox.create({ client: the.client })
  const seen = [await generationOf(box)]
  expect(seen[0]).toMatch(/^[0-9a-f]{32}\n$/)
  await box.files.write('/srv/f', '1')
  const checkpoint = await box.checkpoint()
  expect(await generationOf(box)).toBe(seen[0])
  await box.rollback(checkpoint)
  seen.push(await generationOf(box))
  await box.rollback(checkpoint)
  seen.push(await generationOf(box))
  const kids = [...(await checkpoint.fork(3)), ...(await box.fork(2))]
  seen.push(...(await Promise.all(kids.map(generationOf))))
  expect(await generationOf(box)).toBe(seen[2])
  expect(new Set(seen).size).toBe(8)
  expect(await box.diff()).toMatchObject([{ path: '/srv/f' }])
  for (const one of [...kids, box]) await one.kill({ checkpoints: true })
})

it('cannot be written, removed or hidden, by root inside either', async () => {
  const box = await Sandbox.create({ client: the.client })
  const { stdout } = await box.commands.run(
    `f=$(readlink -f ${FILE}); for c in "echo x > $f" "rm -f $f" "mv $f /srv" "chmod 777 $f" "touch $f" "ln -f /etc/passwd $f"; do
       sh -c "$c" 2> /dev/null && echo "$c"; done; cat ${FILE}`,
  )
  expect(stdout).toBe(await generationOf(box))
  await box.kill()
})

const HOLDER = `
import mmap, sys
file = open("${FILE}")
fd = file.fileno()
shared = mmap.mmap(fd, 33, mmap.MAP_SHARED, mmap.PROT_READ)
private = mmap.mmap(fd, 33, mmap.MAP_PRIVATE, mmap.PROT_READ)
def tell():
    file.seek(0)
    print(file.read().strip(), shared[:32].decode(), private[:32].decode(), flush=True)
tell()
for line in sys.stdin: tell()
`

it('is seen by a program that holds it open or mapped, which keeps no checkpoint from being taken', async () => {
  const box = await Sandbox.create({ client: the.client })
  const handle = await box.commands.start(['python3', '-c', HOLDER], { stdin: true })
  let printed = ''
  handle.stdout.on('data', (piece: Buffer) => {
    printed += piece
  })
  const told = async (): Promise<string[]> => {
    await expect.poll(() => printed).toMatch(/\n/)
    const words = printed.trim().split(' ')
    printed = ''
    return words
  }
  const expectCurrent = async (): Promise<void> => {
    const now = (await generationOf(box)).trim()
    expect(await told()).toEqual([now, now, now])
  }
  await expectCurrent()
  const checkpoint = await box.checkpoint()
  for (let round = 0; round < 3; round++) {
    await handle.sendStdin('\n')
    await expectCurrent()
    await box.rollback(checkpoint)
    await handle.sendStdin('\n')
    await expectCurrent()
    await box.checkpoint()
  }
  await box.kill({ checkpoints: true })
})
