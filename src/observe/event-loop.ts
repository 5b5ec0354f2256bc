/** How late is the event loop? Node samples it, and this file turns the samples into quantiles. */
import { monitorEventLoopDelay } from 'node:perf_hooks'

/** How often Node measures how late the event loop is, in milliseconds. */
const RESOLUTION_MS = 20

/** Measures from now on, until it is stopped. */
export class EventLoopDelay {
  readonly #samples = monitorEventLoopDelay({ resolution: RESOLUTION_MS })

  constructor() {
    this.#samples.enable()
  }

  /** The delay since the last call, in seconds by quantile; 1 is the worst. */
  read(): Readonly<Record<'0.5' | '0.99' | '1', number>> {
    const samples = this.#samples
    // A sample is the time between two ticks of Node's timer: what is beyond the resolution is delay.
    const late = (nanoseconds: number) =>
      samples.count === 0 ? 0 : Math.max(0, nanoseconds / 1e9 - RESOLUTION_MS / 1000)
    const delay = {
      '0.5': late(samples.percentile(50)),
      '0.99': late(samples.percentile(99)),
      '1': late(samples.max),
    }
    samples.reset()
    return delay
  }

  stop(): void {
    this.#samples.disable()
  }
}
