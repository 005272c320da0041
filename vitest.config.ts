import { defineConfig } from 'vitest/config'

const inCi = Boolean(process.env.CI)

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
          // One daemon at a time: files in parallel would share the machine's cgroups, mounts and two cores.
          fileParallelism: false,
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
})
