/** What does the limits service measure? Decisions, refusals and its store, under labels that are words of its own: never a user or a grant. */
import { VERSION } from '../answers/version.ts'
import {
  labelledLines,
  metricLines,
  PROCESS_METRICS,
  processLines,
  type Metric,
} from '../observe/exposition.ts'
import { RATE_LIMIT_METRICS, rateLimitLines } from '../observe/rate-limit-metrics.ts'
import type { LimitsCounts } from './counts.ts'

/** Every metric of the limits service, with the words of the exposition and of the documents. */
export const LIMITS_METRICS = {
  limits_build_info: {
    type: 'gauge',
    help: '1; the labels say which release of the limits service runs, and on which Node.',
  },
  ...RATE_LIMIT_METRICS,
  limits_errors_total: { type: 'counter', help: 'Answers with an error, by code.' },
  limits_store_away: {
    type: 'gauge',
    help: '1 while the store does not answer, or cannot keep what it is told.',
  },
  limits_store_seconds: {
    type: 'histogram',
    help: 'How long the store took, by what it was asked for: take, give-back or look.',
  },
  limits_draining: { type: 'gauge', help: '1 while the limits service is stopping.' },
  limits_event_loop_delay_seconds: {
    type: 'gauge',
    help: 'How late the event loop was since it was last asked, by quantile; 1 is the worst.',
  },
  ...PROCESS_METRICS,
} as const satisfies Record<string, Metric>

/** Values that are read when the metrics are asked for. */
export interface LimitsReadings {
  readonly counts: LimitsCounts
  readonly isStoreAway: boolean
  readonly isDraining: boolean
  /** In seconds, by quantile. */
  readonly eventLoopDelay: Readonly<Record<string, number>>
}

/** All metrics in Prometheus's text format. */
export function limitsExposition(readings: LimitsReadings): string {
  const { counts, isStoreAway, isDraining, eventLoopDelay } = readings
  const family = (name: keyof typeof LIMITS_METRICS, lines: readonly string[]) =>
    metricLines(name, LIMITS_METRICS[name], lines)
  const by = (
    name: keyof typeof LIMITS_METRICS,
    label: string,
    values: Readonly<Record<string, number>>,
  ) => labelledLines(name, LIMITS_METRICS[name], label, values)
  const lines = [
    ...family('limits_build_info', [
      `limits_build_info{version="${VERSION}",node="${process.versions.node}"} 1`,
    ]),
    ...rateLimitLines(counts.decisions),
    ...by('limits_errors_total', 'code', counts.errors),
    ...family('limits_store_away', [`limits_store_away ${isStoreAway ? 1 : 0}`]),
    ...family(
      'limits_store_seconds',
      Object.entries(counts.storeTimes).flatMap(([act, times]) =>
        times.lines('limits_store_seconds', `act="${act}"`),
      ),
    ),
    ...family('limits_draining', [`limits_draining ${isDraining ? 1 : 0}`]),
    ...by('limits_event_loop_delay_seconds', 'quantile', eventLoopDelay),
    ...processLines(),
  ]
  return `${lines.join('\n')}\n`
}
