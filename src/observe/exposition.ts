/** How are metrics written for Prometheus? In its text format 0.0.4, by these functions, which every program of ours shares. */
import { performance } from 'node:perf_hooks'

/** What a metric is, for the exposition and for the documents. */
export interface Metric {
  readonly type: 'counter' | 'gauge' | 'histogram'
  readonly help: string
}

/** The media type of the text. */
export const EXPOSITION_TYPE = 'text/plain; version=0.0.4; charset=utf-8'

/** The metrics of every program of ours. */
export const PROCESS_METRICS = {
  process_resident_memory_bytes: { type: 'gauge', help: 'Resident memory.' },
  nodejs_heap_size_used_bytes: {
    type: 'gauge',
    help: 'Memory of JavaScript objects, those that are no longer needed but not yet collected too.',
  },
  process_cpu_seconds_total: { type: 'counter', help: 'Processor time, user and system.' },
  process_start_time_seconds: {
    type: 'gauge',
    help: 'When the process started, in seconds since 1970.',
  },
} as const satisfies Record<string, Metric>

/** The lines of a metric, below its HELP and TYPE. */
export function metricLines(
  name: string,
  { type, help }: Metric,
  lines: readonly string[],
): string[] {
  return [`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`, ...lines]
}

/** The lines of a metric with one label. @param values by the values of the label */
export function labelledLines(
  name: string,
  metric: Metric,
  label: string,
  values: Readonly<Record<string, number>>,
): string[] {
  const lines = Object.entries(values).map(([key, value]) => `${name}{${label}="${key}"} ${value}`)
  return metricLines(name, metric, lines)
}

/** The lines of {@link PROCESS_METRICS}, now. */
export function processLines(): string[] {
  const { user, system } = process.cpuUsage()
  const { rss, heapUsed } = process.memoryUsage()
  const values = {
    process_resident_memory_bytes: rss,
    nodejs_heap_size_used_bytes: heapUsed,
    process_cpu_seconds_total: (user + system) / 1e6,
    process_start_time_seconds: performance.timeOrigin / 1000,
  } satisfies Record<keyof typeof PROCESS_METRICS, number>
  return Object.entries(PROCESS_METRICS).flatMap(([name, metric]) =>
    metricLines(name, metric, [`${name} ${values[name as keyof typeof PROCESS_METRICS]}`]),
  )
}
