/**
 * What is left of calls of the SDK when nothing is done for them, and when all that is done is that the worker forks itself, or goes
 * back to what it was before: without a sandbox, and without any file.
 */
import path from 'node:path'
import { createInterface } from 'node:readline'
import type { Client } from 'deltabox'
import { Talk } from '../inside/talk.js'
import { program } from '../programs.js'
import { Child } from './child.js'

export class Calls {
  readonly #server: Child
  readonly #client: Client
  readonly #talk: Talk

  private constructor(server: Child, client: Client, talk: Talk) {
    this.#server = server
    this.#client = client
    this.#talk = talk
  }

  /** To a server that has the worker for a child. The directory is for what it needs. */
  static async begin(directory: string, worker: readonly string[]): Promise<Calls> {
    const { Client } = await import('deltabox')
    const socket = path.join(directory, 'idle.sock')
    const command = [process.execPath, program('idle-server.mjs'), socket, ...worker]
    const server = new Child(command, directory, path.join(directory, 'idle-errors'))
    try {
      await server.start()
      const client = new Client({ url: `unix://${socket}` })
      const input = await client.send({ method: 'GET', path: '/stdout' })
      const say = (line: string) => client.bytes({ method: 'POST', path: '/stdin', body: Buffer.from(line) })
      const talk = new Talk(say, createInterface({ input })[Symbol.asyncIterator]())
      await talk.next()
      return new Calls(server, client, talk)
    } catch (error) {
      await server.kill()
      throw error
    }
  }

  call(): Promise<unknown> {
    return this.#post('/nothing')
  }

  /** The worker as it is stays, and a fork of it goes on. */
  keep(): Promise<unknown> {
    return this.#post('/keep')
  }

  /** What has gone on is killed, and what was kept last goes on. */
  back(): Promise<unknown> {
    return this.#post('/back')
  }

  ask(line: string): Promise<string> {
    return this.#talk.ask(line)
  }

  async end(): Promise<void> {
    await this.#server.kill()
  }

  #post(path: string): Promise<unknown> {
    return this.#client.json({ method: 'POST', path, json: {} })
  }
}
