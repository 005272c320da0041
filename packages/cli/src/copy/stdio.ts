import { pipeline } from 'node:stream/promises'
import { Sandbox } from 'deltabox'

export async function copyFromStdin(to: { sandbox: string; path: string }): Promise<void> {
  const box = await Sandbox.connect(to.sandbox)
  await box.files.write(to.path, process.stdin)
}

export async function copyToStdout(from: { sandbox: string; path: string }): Promise<void> {
  const box = await Sandbox.connect(from.sandbox)
  try {
    await pipeline(await box.files.read(from.path, { format: 'stream' }), process.stdout, { end: false })
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EPIPE') throw error
  }
}
