import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'

type Count = () => Readonly<Record<string, number>>

/** What is counted when somebody looks. */
export interface Counts {
  readonly sandboxes: Count
  readonly checkpoints: Count
  readonly images: Count
  readonly imageBytes: Count
}

export class Metrics {
  readonly #registry = new Registry()

  readonly processesStarted: Counter = new Counter({
    name: 'deltabox_processes_started_total',
    help: 'Commands started in sandboxes.',
    registers: [this.#registry],
  })
  readonly createSeconds: Histogram = new Histogram({
    name: 'deltabox_sandbox_create_seconds',
    help: 'From the request to a sandbox that takes commands.',
    buckets: [0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 5],
    registers: [this.#registry],
  })
  readonly checkpointSeconds: Histogram = new Histogram({
    name: 'deltabox_checkpoint_seconds',
    help: 'From a checkpoint’s turn with its sandbox to its registration.',
    buckets: [0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 2],
    registers: [this.#registry],
  })
  readonly rollbackSeconds: Histogram = new Histogram({
    name: 'deltabox_rollback_seconds',
    help: 'From the request to a sandbox that takes commands.',
    buckets: [0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 2],
    registers: [this.#registry],
  })
  readonly forkSeconds: Histogram = new Histogram({
    name: 'deltabox_fork_seconds',
    help: 'From the request to sandboxes that all take commands.',
    buckets: [0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 5],
    registers: [this.#registry],
  })
  readonly engineRequests: Counter<'operation' | 'result'> = new Counter({
    name: 'deltabox_engine_requests_total',
    help: 'Requests that engines answered.',
    labelNames: ['operation', 'result'] as const,
    registers: [this.#registry],
  })
  readonly templateUses: Counter<'result'> = new Counter({
    name: 'deltabox_template_uses_total',
    help: 'Rollbacks and forks by whether the processes were in memory (hit) or came from disk (miss).',
    labelNames: ['result'] as const,
    registers: [this.#registry],
  })
  readonly bytesStreamed: Counter<'direction' | 'kind'> = new Counter({
    name: 'deltabox_streamed_bytes_total',
    help: 'Bytes of output, input and files passed on.',
    labelNames: ['direction', 'kind'] as const,
    registers: [this.#registry],
  })
  readonly httpSeconds: Histogram<'method' | 'route' | 'status'> = new Histogram({
    name: 'deltabox_http_request_seconds',
    help: 'Time to the end of the response.',
    labelNames: ['method', 'route', 'status'] as const,
    buckets: [0.001, 0.002, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 10, 60],
    registers: [this.#registry],
  })

  readonly blockingSeconds: Histogram = new Histogram({
    name: 'deltabox_checkpoint_blocking_seconds',
    help: 'How long a sandbox’s processes stood still for a checkpoint.',
    buckets: [0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5],
    registers: [this.#registry],
  })
  readonly imageWriteSeconds: Histogram = new Histogram({
    name: 'deltabox_image_write_seconds',
    help: 'Bringing the processes of a checkpoint to disk.',
    buckets: [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 2, 10],
    registers: [this.#registry],
  })
  readonly imageReadSeconds: Histogram = new Histogram({
    name: 'deltabox_image_read_seconds',
    help: 'Bringing the processes of a checkpoint in from disk.',
    buckets: [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 2, 10],
    registers: [this.#registry],
  })

  constructor(counts: Counts) {
    collectDefaultMetrics({ register: this.#registry })
    const gauges = [
      ['deltabox_sandboxes', 'Sandboxes by state.', 'state', counts.sandboxes],
      ['deltabox_checkpoints', 'Checkpoints by state.', 'state', counts.checkpoints],
      ['deltabox_images', 'Processes of checkpoints by where they are.', 'place', counts.images],
      ['deltabox_image_bytes', 'Bytes that processes of checkpoints take.', 'place', counts.imageBytes],
    ] as const
    for (const [name, help, label, count] of gauges) this.#gauge(name, help, label, count)
  }

  #gauge(name: string, help: string, label: string, count: Count): void {
    new Gauge({
      name,
      help,
      labelNames: [label],
      registers: [this.#registry],
      collect() {
        for (const [value, number] of Object.entries(count())) this.set({ [label]: value }, number)
      },
    })
  }

  get contentType(): string {
    return this.#registry.contentType
  }

  text(): Promise<string> {
    return this.#registry.metrics()
  }
}
