/**
 * How many requests were there, how fast were they, and how did they end? Counters, and their text for Prometheus. Counting a
 * request costs a few array writes.
 */
import { ERRORS, type ErrorCode } from '../answers/errors.ts'
import {
  labelledLines,
  metricLines,
  PROCESS_METRICS,
  processLines,
  type Metric,
} from './exposition.ts'
import type { FactorCount } from './factor-log.ts'
import { Histogram } from './histogram.ts'
import { RATE_LIMIT_METRICS, rateLimitLines, type RateLimitCounts } from './rate-limit-metrics.ts'
import { STAGES, type Stage } from '../request/outcome.ts'
import { ROUTE_WORDS, type RouteName } from '../rules/site-map.ts'
import { VERSION } from '../answers/version.ts'

// Written by hand because prom-client took 1.5 µs a request for a counter and two histograms, with labels bound beforehand:
// more than the rate limit takes. Every label value is a name of the code's own, so the number of series is bounded.

/** Every metric, with the words of the exposition and of the documents. */
export const METRICS = {
  gateway_build_info: {
    type: 'gauge',
    help: '1; the labels say which release of the gateway runs, and on which Node.',
  },
  gateway_requests_total: {
    type: 'counter',
    help: 'Requests and WebSockets that ended, by route, by the stage that answered, and by status class (none: the client left).',
  },
  gateway_refusals_total: {
    type: 'counter',
    help: 'Answers of the gateway’s own, by error code.',
  },
  gateway_decision_seconds: {
    type: 'histogram',
    help: 'Time until a request was handed to its service, or was answered by the gateway itself, by route.',
  },
  gateway_upstream_seconds: {
    type: 'histogram',
    help: 'Time until the service began its answer, or was given up, by route.',
  },
  gateway_open_websockets: { type: 'gauge', help: 'WebSockets that are open.' },
  gateway_terminals: {
    type: 'gauge',
    help: 'Terminals that the keeper of terminals holds, by state (exited: the shell has ended and its last screen waits); none without a keeper.',
  },
  gateway_in_flight_requests: { type: 'gauge', help: 'Requests under way, by service.' },
  gateway_stray_bytes_total: {
    type: 'counter',
    help: 'Bytes that a service sent and that belong to no response, by service; each time its connection was closed.',
  },
  gateway_limiter_keys: {
    type: 'gauge',
    help: 'Client addresses and sessions that have a budget in use, by table.',
  },
  ...RATE_LIMIT_METRICS,
  gateway_tokens_verified_total: {
    type: 'counter',
    help: 'Requests with a valid signed token, by the kid of the key that verified it. A key that is no longer used can be removed.',
  },
  gateway_sessions: {
    type: 'gauge',
    help: 'Sessions that are open, by kind: signed-in browsers, and programs whose token was seen.',
  },
  gateway_sessions_started_total: { type: 'counter', help: 'Sign-ins of browsers.' },
  gateway_sessions_ended_total: { type: 'counter', help: 'Sessions that ended, by cause.' },
  gateway_remembered_tokens: { type: 'gauge', help: 'Verified tokens that are remembered.' },
  gateway_api_token_requests_total: {
    type: 'counter',
    help: 'Requests with an API token, good or refused, by the name of the token; only those that were used since the start.',
  },
  gateway_second_factors_total: {
    type: 'counter',
    help: 'Second factors that were shown or added, by kind, and by result: shown, added, or why it was refused.',
  },
  gateway_second_factor_locks_total: {
    type: 'counter',
    help: 'How often wrong codes have locked the codes of somebody. Who types them has a session of that person.',
  },
  gateway_draining: { type: 'gauge', help: '1 while the gateway is stopping.' },
  gateway_event_loop_delay_seconds: {
    type: 'gauge',
    help: 'How late the event loop was since it was last asked, by quantile; 1 is the worst.',
  },
  ...PROCESS_METRICS,
} as const satisfies Record<string, Metric>

type MetricName = keyof typeof METRICS

/** Upper bounds for the time between the arrival of a request and its decision, in milliseconds. */
const DECISION_BUCKETS_MS = [0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 500, 1000]

/** Upper bounds for the time until a service begins its response, in milliseconds; an agent run takes minutes. */
const UPSTREAM_BUCKETS_MS = [
  1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 10_000, 60_000, 300_000, 900_000,
]

// The place of a label value in its list is its index in the arrays below. A value that is missing from a list would have the
// index undefined, and its requests would be counted under NaN. So each list is made of the keys of a complete record, or is
// the tuple that its type is derived from: a missing value does not compile.
const ROUTES = [...keysOf(ROUTE_WORDS), 'none'] as const
const CLASSES = ['none', '1xx', '2xx', '3xx', '4xx', '5xx'] as const
const CODES = keysOf(ERRORS)

const ROUTE_INDEX = indexOf(ROUTES)
const STAGE_INDEX = indexOf(STAGES)
const CODE_INDEX = indexOf(CODES)

function keysOf<Name extends string>(record: Readonly<Record<Name, unknown>>): Name[] {
  return Object.keys(record) as Name[]
}

function indexOf<Name extends string>(names: readonly Name[]): Readonly<Record<Name, number>> {
  return Object.fromEntries(names.map((name, i) => [name, i])) as Record<Name, number>
}

/** The counters that a request changes when it ends. */
export class RequestMetrics {
  readonly #requests: number[] = Array.from(
    { length: ROUTES.length * STAGES.length * CLASSES.length },
    () => 0,
  )
  readonly #refusals: number[] = CODES.map(() => 0)
  readonly #decision = ROUTES.map(() => new Histogram(DECISION_BUCKETS_MS))
  readonly #upstream = ROUTES.map(() => new Histogram(UPSTREAM_BUCKETS_MS))

  /**
   * Counts a request that has ended.
   * @param status 0 when the client left before there was a response
   * @param decisionMs until the request was forwarded, or answered by the gateway itself
   * @param upstreamMs until the service began its response; undefined when no service was asked
   */
  count(
    route: RouteName | undefined,
    stage: Stage,
    status: number,
    code: ErrorCode | undefined,
    decisionMs: number,
    upstreamMs: number | undefined,
  ): void {
    const routeIndex = ROUTE_INDEX[route ?? 'none']
    const statusClass = Math.min(5, Math.trunc(status / 100)) // a service may send any status up to 999
    const index = (routeIndex * STAGES.length + STAGE_INDEX[stage]) * CLASSES.length + statusClass
    this.#requests[index] = (this.#requests[index] ?? 0) + 1
    if (code !== undefined) {
      const codeIndex = CODE_INDEX[code]
      this.#refusals[codeIndex] = (this.#refusals[codeIndex] ?? 0) + 1
    }
    this.#decision[routeIndex]?.observe(decisionMs)
    if (upstreamMs !== undefined) this.#upstream[routeIndex]?.observe(upstreamMs)
  }

  /** The lines of all counters. */
  lines(): string[] {
    const requests = this.#requests.flatMap((count, index) => {
      if (count === 0) return []
      const status = CLASSES[index % CLASSES.length]
      const stage = STAGES[Math.floor(index / CLASSES.length) % STAGES.length]
      const route = ROUTES[Math.floor(index / CLASSES.length / STAGES.length)]
      return `gateway_requests_total{route="${route}",stage="${stage}",status="${status}"} ${count}`
    })
    return [
      ...family('gateway_requests_total', requests),
      ...family(
        'gateway_refusals_total',
        this.#refusals.map((count, i) => `gateway_refusals_total{code="${CODES[i]}"} ${count}`),
      ),
      ...histograms('gateway_decision_seconds', this.#decision),
      ...histograms('gateway_upstream_seconds', this.#upstream),
    ]
  }
}

function histograms(name: MetricName, byRoute: readonly Histogram[]): string[] {
  return family(
    name,
    byRoute.flatMap((histogram, i) => histogram.lines(name, `route="${ROUTES[i]}"`)),
  )
}

function family(name: MetricName, lines: readonly string[]): string[] {
  return metricLines(name, METRICS[name], lines)
}

/** Values that are read when the metrics are asked for. */
export interface Readings {
  readonly openWebSockets: number
  /** By state; undefined without a keeper of terminals. */
  readonly terminals: Readonly<Record<string, number>> | undefined
  /** By service. */
  readonly inFlight: Readonly<Record<string, number>>
  /** By service. */
  readonly strayBytes: Readonly<Record<string, number>>
  readonly rateLimits: RateLimitCounts
  /** By table. */
  readonly limiterKeys: Readonly<Record<string, number>>
  /** By kid. */
  readonly tokensVerified: Readonly<Record<string, number>>
  /** By kind. */
  readonly sessions: Readonly<Record<string, number>>
  readonly sessionsStarted: number
  /** By cause. */
  readonly sessionsEnded: Readonly<Record<string, number>>
  readonly rememberedTokens: number
  readonly secondFactors: readonly FactorCount[]
  readonly factorLocks: number
  /** By name. */
  readonly apiTokenUses: Readonly<Record<string, number>>
  readonly isDraining: boolean
  /** In seconds, by quantile. */
  readonly eventLoopDelay: Readonly<Record<string, number>>
}

/** All metrics in Prometheus's text exposition format 0.0.4. */
export function exposition(counted: RequestMetrics, readings: Readings): string {
  const one = (name: MetricName, value: number) => family(name, [`${name} ${value}`])
  const by = (name: MetricName, label: string, values: Readonly<Record<string, number>>) =>
    labelledLines(name, METRICS[name], label, values)
  const lines = [
    ...family('gateway_build_info', [
      `gateway_build_info{version="${VERSION}",node="${process.versions.node}"} 1`,
    ]),
    ...counted.lines(),
    ...one('gateway_open_websockets', readings.openWebSockets),
    ...by('gateway_terminals', 'state', readings.terminals ?? {}),
    ...by('gateway_in_flight_requests', 'service', readings.inFlight),
    ...by('gateway_stray_bytes_total', 'service', readings.strayBytes),
    ...by('gateway_limiter_keys', 'table', readings.limiterKeys),
    ...rateLimitLines(readings.rateLimits),
    ...by('gateway_tokens_verified_total', 'kid', readings.tokensVerified),
    ...by('gateway_sessions', 'kind', readings.sessions),
    ...one('gateway_sessions_started_total', readings.sessionsStarted),
    ...by('gateway_sessions_ended_total', 'cause', readings.sessionsEnded),
    ...one('gateway_remembered_tokens', readings.rememberedTokens),
    ...by('gateway_api_token_requests_total', 'token', readings.apiTokenUses),
    ...family(
      'gateway_second_factors_total',
      readings.secondFactors.map(
        ({ factor, result, count }) =>
          `gateway_second_factors_total{factor="${factor}",result="${result}"} ${count}`,
      ),
    ),
    ...one('gateway_second_factor_locks_total', readings.factorLocks),
    ...one('gateway_draining', readings.isDraining ? 1 : 0),
    ...by('gateway_event_loop_delay_seconds', 'quantile', readings.eventLoopDelay),
    ...processLines(),
  ]
  return `${lines.join('\n')}\n`
}
