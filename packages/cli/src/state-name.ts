import { type Checkpoint, Sandbox } from 'deltabox'

/** What a name on the command line stands for: no sandbox's name begins as ids of checkpoints do. */
export function openState(name: string): Promise<Sandbox | Checkpoint> {
  return name.startsWith('cp-') ? Sandbox.getCheckpoint(name) : Sandbox.connect(name)
}
