/** Work that is done while something else is waited for. */

export interface Masked<Answer, Result> {
  /** Of what was waited for. */
  readonly answer: Answer
  /** Of the work. */
  readonly result: Result
  readonly waitMs: number
  readonly workMs: number
  /** How much of the work was done before the answer came. */
  readonly hiddenMs: number
}

/**
 * Starts the work when the wait has been started, and gives both when both have ended: a checkpoint, a rollback or a prefetch
 * costs nothing while a model thinks. What fails first in this order is thrown: the wait, the work; never before both have ended.
 */
export async function masked<Answer, Result>(
  wait: PromiseLike<Answer> | (() => PromiseLike<Answer>),
  work: () => PromiseLike<Result>,
): Promise<Masked<Answer, Result>> {
  const started = performance.now()
  const since = (): number => performance.now() - started
  let waitMs = 0
  let workMs = 0
  const waiting = (async () => (typeof wait === 'function' ? await wait() : await wait))().finally(() => {
    waitMs = since()
  })
  const working = (async () => await work())().finally(() => {
    workMs = since()
  })
  const [answer, result] = await Promise.allSettled([waiting, working])
  if (answer.status === 'rejected') throw answer.reason
  if (result.status === 'rejected') throw result.reason
  const hiddenMs = Math.min(waitMs, workMs)
  return { answer: answer.value, result: result.value, waitMs, workMs, hiddenMs }
}
