/** Eight games of guessing a number, in four sandboxes that are one checkpoint. `npx tsx examples/rollouts.ts` */
import { Rollouts } from '@deltabox/search'
import { Sandbox } from 'deltabox'

const box = await Sandbox.create()
await box.files.write('/root/number', '37')
const checkpoint = await box.checkpoint('the number is thought of')

const rollouts = await Rollouts.from(checkpoint, {
  size: 4,
  concurrency: 2,
  reset: async () => 'guess a number below 64',
  step: async (inside, guess: number) => {
    const script = `echo ${guess} >> tried; test ${guess} -lt $(cat number) && echo more || echo less`
    const { stdout } = await inside.commands.run(script, { cwd: '/root' })
    const isRight = guess === Number(await inside.files.read('/root/number'))
    return { observation: stdout.trim(), reward: isRight ? 1 : -0.1, done: isRight }
  },
  retries: 2,
  limits: { stepMs: 30_000 },
})

/** A model would be asked here. */
const ranges = new Map<number, { low: number; high: number; last: number }>()
const results = rollouts.run(
  async (seen, { episode, step, random }) => {
    const range = ranges.get(episode)
    const { low, high, last } = step === 0 || !range ? { low: 0, high: 64, last: -1 } : range
    const now = { low: seen === 'more' ? last + 1 : low, high: seen === 'less' ? last : high }
    const guess = now.low + random.below(now.high - now.low)
    ranges.set(episode, { ...now, last: guess })
    return guess
  },
  { episodes: 8, maxSteps: 64 },
)
for await (const { episode, env, steps, reward, error } of results) {
  console.log(`episode ${episode} in ${env}: ${steps.length} steps, ${reward.toFixed(1)}`, error ?? '')
}

const { episodes, failed, occupation } = rollouts.report({ trainMs: 0 })
console.log(`${episodes} episodes, ${failed} failed, occupation ${occupation.toFixed(2)}`)
await rollouts.close()
await box.kill({ checkpoints: true })
