/** What does the relay measure? Sums and sizes, under labels that are words of the code's own: never a place, a daemon or an address. */
import { VERSION } from '../../answers/version.ts'
import {
  labelledLines,
  metricLines,
  PROCESS_METRICS,
  processLines,
  type Metric,
} from '../../observe/exposition.ts'
import type { RelayCounts } from './counts.ts'
import type { Meetings } from './meetings.ts'

/** Every metric of the relay, with the words of the exposition and of the documents. */
export const RELAY_METRICS = {
  relay_build_info: {
    type: 'gauge',
    help: '1; the labels say which release of the relay runs, and on which Node.',
  },
  relay_daemons: { type: 'gauge', help: 'Control connections of daemons.' },
  relay_places: { type: 'gauge', help: 'Places with a daemon or a room.' },
  relay_rooms: {
    type: 'gauge',
    help: 'Rooms, by state: waiting for the daemon, or complete.',
  },
  relay_knocks_total: {
    type: 'counter',
    help: 'Devices that came to a place where a daemon sits.',
  },
  relay_joined_total: { type: 'counter', help: 'Rooms that became complete.' },
  relay_messages_total: { type: 'counter', help: 'Messages that were passed.' },
  relay_bytes_total: { type: 'counter', help: 'Bytes of messages that were passed.' },
  relay_closes_total: { type: 'counter', help: 'Rooms and connections that ended, by cause.' },
  relay_refusals_total: {
    type: 'counter',
    help: 'Requests that did not become a WebSocket, by reason.',
  },
  relay_store_away: {
    type: 'gauge',
    help: '1 while the store of many nodes does not answer; 0 without a store.',
  },
  relay_draining: { type: 'gauge', help: '1 while the relay is stopping.' },
  relay_event_loop_delay_seconds: {
    type: 'gauge',
    help: 'How late the event loop was since it was last asked, by quantile; 1 is the worst.',
  },
  ...PROCESS_METRICS,
} as const satisfies Record<string, Metric>

/** Values that are read when the metrics are asked for. */
export interface RelayReadings {
  readonly counts: RelayCounts
  readonly sizes: Meetings['sizes']
  readonly isDraining: boolean
  readonly isStoreAway: boolean
  /** In seconds, by quantile. */
  readonly eventLoopDelay: Readonly<Record<string, number>>
}

/** All metrics in Prometheus's text format. */
export function relayExposition(readings: RelayReadings): string {
  const { counts, sizes, isDraining, isStoreAway, eventLoopDelay } = readings
  const one = (name: keyof typeof RELAY_METRICS, value: number) =>
    metricLines(name, RELAY_METRICS[name], [`${name} ${value}`])
  const by = (
    name: keyof typeof RELAY_METRICS,
    label: string,
    values: Readonly<Record<string, number>>,
  ) => labelledLines(name, RELAY_METRICS[name], label, values)
  const lines = [
    ...metricLines('relay_build_info', RELAY_METRICS.relay_build_info, [
      `relay_build_info{version="${VERSION}",node="${process.versions.node}"} 1`,
    ]),
    ...one('relay_daemons', sizes.daemons),
    ...one('relay_places', sizes.places),
    ...by('relay_rooms', 'state', {
      waiting: sizes.waiting,
      complete: sizes.rooms - sizes.waiting,
    }),
    ...one('relay_knocks_total', counts.knocks),
    ...one('relay_joined_total', counts.joined),
    ...one('relay_messages_total', counts.messages),
    ...one('relay_bytes_total', counts.bytes),
    ...by('relay_closes_total', 'cause', counts.closes),
    ...by('relay_refusals_total', 'reason', counts.refusals),
    ...one('relay_store_away', isStoreAway ? 1 : 0),
    ...one('relay_draining', isDraining ? 1 : 0),
    ...by('relay_event_loop_delay_seconds', 'quantile', eventLoopDelay),
    ...processLines(),
  ]
  return `${lines.join('\n')}\n`
}
