/**
 * Does nothing for a call but to answer it, and to pass on what is asked: to a program, whose answers are a stream. For other calls it
 * tells the program to keep itself, and kills what has gone on in its place. Its arguments are a socket and the program's command.
 */
import { spawn } from 'node:child_process'
import { createServer } from 'node:http'

const [socket, command, ...args] = process.argv.slice(2)
const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'] })
// Whoever asks is to see that nobody answers any more.
child.on('exit', () => process.exit(1))

/** Who waits for its next line. */
let next
/** The process that goes on. */
let current

function passOn(output) {
  child.stdout.on('data', (piece) => {
    const taken = next
    next = undefined
    if (taken) taken(String(piece))
    else output.write(piece)
  })
}

function itsNextLine() {
  return new Promise((resolve) => {
    next = resolve
  })
}

const calls = {
  '/nothing': () => {},
  '/stdin': (body) => {
    child.stdin.write(body)
  },
  '/keep': async () => {
    const line = itsNextLine()
    child.stdin.write('keep\n')
    current = Number(await line)
  },
  '/back': async () => {
    const line = itsNextLine()
    process.kill(current, 'SIGKILL')
    await line
  },
}

const server = createServer((request, response) => {
  if (request.method === 'GET') {
    response.flushHeaders()
    passOn(response)
    return
  }
  const pieces = []
  request.on('data', (piece) => pieces.push(piece))
  request.on('end', async () => {
    await calls[request.url](Buffer.concat(pieces))
    response.setHeader('content-type', 'application/json')
    response.end('{}')
  })
})
server.listen(socket, () => process.stdout.write('ready\n'))
