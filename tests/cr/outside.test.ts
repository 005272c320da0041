/** Connections whose other end is outside of the sandbox, and so not in its state. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { Sandbox } from 'deltabox'
import { expect, it } from 'vitest'
import { useDaemon } from '../e2e/support/use-daemon.js'
import { Victim } from './support/victim.js'

const the = useDaemon()

const SAY_HELLO = `
import socket
end = socket.create_connection(("127.0.0.1", 8080))
end.sendall(b"hello and more")
print("sent", flush=True)
end.recv(99)
`

it('is reset by a rollback and in a fork, after what was received', async () => {
  const box = await Sandbox.create({ client: the.client })
  const victim = await Victim.start(box, '../programs/served.py')
  const outside = await sayHello(hostPid('served.py'))
  await victim.change()
  const checkpoint = await box.checkpoint()
  const [kid] = await checkpoint.fork(1)
  if (!kid) throw new Error('there is no fork')
  await (await victim.in(kid)).verify()
  expect((await box.rollback(checkpoint)).source).toBe('template')
  await victim.verify()
  outside.kill()
  await kid.kill({ checkpoints: true })
  await box.kill({ checkpoints: true })
})

/** From the sandbox's network, but not from the sandbox. */
async function sayHello(pid: number): Promise<ChildProcess> {
  const child = spawn('nsenter', ['-t', `${pid}`, '-n', 'python3', '-c', SAY_HELLO])
  const [said] = await once(child.stdout, 'data')
  expect(String(said).trim()).toBe('sent')
  return child
}

function hostPid(program: string): number {
  const found = readdirSync('/proc').find((name) => {
    try {
      return /^\d+$/.test(name) && readFileSync(`/proc/${name}/cmdline`, 'utf8').includes(program)
    } catch {
      return false
    }
  })
  return Number(found)
}
