import type { Reporter, TestModule } from 'vitest/node'

/** Fails the run when a test was skipped: a machine that cannot run a test proves nothing about it. */
export default class NoSkipsReporter implements Reporter {
  onTestRunEnd(testModules: readonly TestModule[]): void {
    const skipped = testModules.flatMap((module) => [...module.children.allTests('skipped')])
    for (const test of skipped) {
      const result = test.result()
      const note = result.state === 'skipped' && result.note ? `: ${result.note}` : ''
      process.stderr.write(`skipped: ${test.module.relativeModuleId} > ${test.fullName}${note}\n`)
    }
    if (skipped.length === 0) return
    process.stderr.write(`${skipped.length} skipped test(s); with CI set a skip is a failure\n`)
    process.exitCode = 1
  }
}
