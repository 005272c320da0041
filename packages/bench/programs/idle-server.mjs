/**
 * Does nothing for a call but to answer it, and to pass on what is asked: to a program, whose answers are a stream. Its arguments
 * are a socket and the program's command.
 */
import { spawn } from 'node:child_process'
import { createServer } from 'node:http'

const [socket, command, ...args] = process.argv.slice(2)
const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'] })

const server = createServer((request, response) => {
  if (request.method === 'GET') {
    response.flushHeaders()
    child.stdout.pipe(response)
    return
  }
  const pieces = []
  request.on('data', (piece) => pieces.push(piece))
  request.on('end', () => {
    if (request.url === '/stdin') child.stdin.write(Buffer.concat(pieces))
    response.setHeader('content-type', 'application/json')
    response.end('{}')
  })
})
server.listen(socket, () => process.stdout.write('ready\n'))
