import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { OutputFrame } from '@deltabox/protocol/output-frames'
import { afterEach, expect, it, vi } from 'vitest'
import { Client } from '../src/client.js'
import { Output } from '../src/output.js'

let server: Server | undefined

afterEach(() => {
  vi.restoreAllMocks()
  server?.closeAllConnections()
  server?.close()
})

function frame(type: number, payload: string | Buffer): Buffer {
  const body = Buffer.from(payload)
  const head = Buffer.alloc(5)
  head.writeUInt8(type, 0)
  head.writeUInt32BE(body.length, 1)
  return Buffer.concat([head, body])
}

/** Serves `text` from the offset asked for; each connection but the last breaks off inside a frame. */
async function flaky(text: string, breakAfter: readonly number[], offsets: number[]): Promise<Output> {
  server = createServer((request, response) => {
    const from = Number(new URL(request.url ?? '', 'http://x').searchParams.get('stdout'))
    const cut = breakAfter[offsets.length]
    offsets.push(from)
    if (cut === undefined) {
      response.end(
        Buffer.concat([
          frame(OutputFrame.stdout, text.slice(from)),
          frame(OutputFrame.exit, JSON.stringify({ exitCode: 7 })),
        ]),
      )
      return
    }
    const whole = frame(OutputFrame.stdout, text.slice(from, from + cut))
    const half = frame(OutputFrame.stdout, text.slice(from + cut)).subarray(0, 8)
    response.write(Buffer.concat([whole, half]), () => setTimeout(() => response.destroy(), 20))
  })
  await new Promise<void>((resolve) => server?.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const client = new Client({ url: `http://127.0.0.1:${port}` })
  return new Output(client, '/output', { attach: true, follow: true })
}

async function textOf(output: Output): Promise<string> {
  let text = ''
  for await (const chunk of output.stream('stdout')) text += chunk
  return text
}

it('loses and doubles nothing when connections break inside frames', async () => {
  const offsets: number[] = []
  const output = await flaky('0123456789abcdefghij', [4, 3, 0, 6], offsets)
  expect(await textOf(output)).toBe('0123456789abcdefghij')
  expect(offsets).toEqual([0, 4, 7, 7, 13])
  expect(await output.end()).toMatchObject({ exitCode: 7 })
})

it('counts the time to come back from the loss, not from the beginning', async () => {
  const output = await flaky('long ago', [4], [])
  const text = textOf(output)
  const begun = Date.now()
  vi.spyOn(Date, 'now').mockImplementation(() => begun + 3_600_000)
  expect(await text).toBe('long ago')
})
