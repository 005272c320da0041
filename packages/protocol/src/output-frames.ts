/**
 * The body of GET …/output: frames of `type u8, length u32 big-endian, payload`.
 * stdout and stderr payloads are bytes; gap is JSON `{ stream, offset }` (older bytes are gone, the stream goes on
 * at offset); exit is JSON of ProcessInfo and is the last frame; error is JSON of ErrorBody and is the last frame.
 */
export const OutputFrame = { stdout: 1, stderr: 2, gap: 3, exit: 4, error: 5 } as const
export const OUTPUT_FRAME_HEADER_BYTES = 5
export const OUTPUT_CONTENT_TYPE = 'application/vnd.deltabox.output'
