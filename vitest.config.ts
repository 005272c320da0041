import { defineConfig } from 'vitest/config'

const inCi = Boolean(process.env.CI)

/** What has to come may be slow to: others use the machine as well. */
const poll = { interval: 20, timeout: 20_000 }

export default defineConfig({
  test: {
    allowOnly: !inCi,
    retry: 0,
    reporters: inCi ? ['default', './tests/house/no-skips-reporter.ts'] : ['default'],
    projects: [
      {
        test: {
          name: 'unit',
          include: ['packages/*/test/**/*.test.ts', 'tests/house/**/*.test.ts'],
          sequence: { groupOrder: 0 },
        },
      },
      {
        test: {
          name: 'processes',
          include: ['tests/cr/**/*.test.ts'],
          testTimeout: 120_000,
          hookTimeout: 120_000,
          expect: { poll },
          fileParallelism: false,
          sequence: { groupOrder: 2 },
        },
      },
      {
        test: {
          name: 'e2e',
          include: ['tests/**/*.test.ts'],
          exclude: ['tests/house/**', 'tests/cr/**'],
          testTimeout: 120_000,
          hookTimeout: 120_000,
          expect: { poll },
          // One daemon at a time: files in parallel would share the machine's cgroups, mounts and two cores.
          fileParallelism: false,
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
})
