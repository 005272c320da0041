import { OUTPUT_FRAME_HEADER_BYTES } from '@deltabox/protocol/output-frames'

export interface OutputFrameData {
  readonly type: number
  readonly payload: Buffer
}

/** Cuts the body of an output response, in chunks of any size, into frames. */
export class OutputDecoder {
  #rest: Buffer = Buffer.alloc(0)

  push(chunk: Buffer): OutputFrameData[] {
    this.#rest = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk])
    const frames: OutputFrameData[] = []
    while (this.#rest.length >= OUTPUT_FRAME_HEADER_BYTES) {
      const end = OUTPUT_FRAME_HEADER_BYTES + this.#rest.readUInt32BE(1)
      if (this.#rest.length < end) break
      frames.push({
        type: this.#rest.readUInt8(0),
        payload: this.#rest.subarray(OUTPUT_FRAME_HEADER_BYTES, end),
      })
      this.#rest = this.#rest.subarray(end)
    }
    return frames
  }
}
