/** Disks that are files, for what happens to a whole disk. */
import { execFileSync } from 'node:child_process'
import { mkdirSync } from 'node:fs'

export function run(program: string, ...args: string[]): string {
  return execFileSync(program, args, {
    encoding: 'utf8',
    env: { PATH: `${process.env.PATH}:/usr/sbin:/sbin` },
  })
}

export class LoopDisks {
  readonly #mounted: string[] = []

  /** An empty XFS. */
  make(image: string, size: string, directory: string): void {
    run('truncate', '-s', size, image)
    run('mkfs.xfs', '-q', image)
    this.mount(image, directory)
  }

  mount(image: string, directory: string, ...options: string[]): void {
    mkdirSync(directory, { recursive: true })
    run('mount', '-o', ['loop', ...options].join(), image, directory)
    this.#mounted.push(directory)
  }

  /** The kernel takes its time to let go of what killed engines had mounted. */
  unmount(directory: string): void {
    run('umount', '--lazy', directory)
    this.#mounted.splice(this.#mounted.indexOf(directory), 1)
  }

  unmountAll(): void {
    for (const directory of [...this.#mounted].reverse()) this.unmount(directory)
  }
}
