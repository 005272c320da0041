// A session with a timer, a server with a connection that is kept, and a worker thread. Each line is evaluated.
const vm = require('node:vm')
const http = require('node:http')
const { Worker } = require('node:worker_threads')

globalThis.ticks = 0
setInterval(() => ticks++, 5)

let served = 0
const server = http
  .createServer((request, response) => response.end(String(request.url === '/add' ? ++served : served)))
  .listen(0, '127.0.0.1')
const agent = new http.Agent({ keepAlive: true, maxSockets: 1 })
globalThis.get = (path) =>
  new Promise((resolve, reject) => {
    http
      .get({ ...server.address(), host: '127.0.0.1', path, agent }, (response) => {
        let text = ''
        response.on('data', (data) => (text += data)).on('end', () => resolve(text))
      })
      .on('error', reject)
  })

const worker = new Worker(
  `let sum = 0
   const { parentPort } = require('node:worker_threads')
   parentPort.on('message', (n) => parentPort.postMessage((sum += n)))`,
  { eval: true },
)
globalThis.add = (n) =>
  new Promise((resolve) => {
    worker.once('message', resolve)
    worker.postMessage(n)
  })
globalThis.tick = () => {
  const before = ticks
  return new Promise((resolve) => setTimeout(() => resolve(ticks > before), 50))
}

require('node:readline')
  .createInterface({ input: process.stdin })
  .on('line', async (line) => {
    const answer = await vm.runInThisContext(line)
    if (answer !== undefined) console.log(answer)
  })
