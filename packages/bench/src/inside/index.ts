/** Programs inside of sandboxes that can be talked with, line by line. */
export { program } from '../programs.js'
export { Asked } from './asked.js'
export { linesOf } from './lines.js'
export { inside, mustBe, Worker, workerIn } from './worker.js'
