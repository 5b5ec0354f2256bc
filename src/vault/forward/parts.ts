/** What does forwarding need of the rest of the vault, and how long does it wait? */
import type { Logger } from 'pino'
import type { UseAudit } from '../audit-row.ts'
import type { Denials } from '../denials.ts'
import type { Entry, Version } from '../policy.ts'
import type { Automaton } from '../scrub/automaton.ts'
import type { Dialler } from './dial.ts'

/** The time limits of a use, in milliseconds. */
export interface Timeouts {
  /** For the name, the connection and TLS together. */
  readonly connectMs: number
  /** For the first byte of the answer, after the last one of the request: a language model may think for minutes. */
  readonly firstByteMs: number
  /** For the next bytes, in the middle of an answer or of a WebSocket. */
  readonly idleMs: number
}

/** The timeouts unless a test has others. */
export const TIMEOUTS: Timeouts = { connectMs: 10_000, firstByteMs: 600_000, idleMs: 600_000 }

/** What every use is given. */
export interface Parts {
  readonly audit: UseAudit
  /** Counts refusals of requests that were not dialled: with a row for each of them an agent could fill the disk. */
  readonly denials: Pick<Denials, 'note'>
  readonly logger: Logger
  readonly dialler: Dialler
  readonly timeouts: Timeouts
  /** Milliseconds since the epoch. */
  readonly now: () => number
  readonly onReflected: (entry: Entry) => void
  readonly versionsOf: (entry: Entry) => readonly Version[]
  /** The prepared needles of an entry. */
  readonly automatonOf: (entry: Entry) => Automaton
}
