/** What does the relay count? Sums alone: nothing here, nor in the log, tells one place, daemon or device from another. */
import { RELAY_CLOSE } from '../protocol/relay-wire.ts'

/** Why a connection was closed: by the relay, with the code of that name, or because the other side had left. */
export type CloseWord = keyof typeof RELAY_CLOSE | 'otherSideLeft'

/** Why a request was refused before it became a WebSocket. */
export type RefusalWord = 'tooMany' | 'badAddress' | 'notFound' | 'notAnUpgrade' | 'draining'

/** What was counted since the start. */
export class RelayCounts {
  knocks = 0
  /** Rooms with both sides there. */
  joined = 0
  messages = 0
  bytes = 0
  readonly closes = zeros<CloseWord>([...keysOf(RELAY_CLOSE), 'otherSideLeft'])
  readonly refusals = zeros<RefusalWord>([
    'tooMany',
    'badAddress',
    'notFound',
    'notAnUpgrade',
    'draining',
  ])
}

function keysOf<Name extends string>(record: Readonly<Record<Name, unknown>>): Name[] {
  return Object.keys(record) as Name[]
}

function zeros<Word extends string>(words: readonly Word[]): Record<Word, number> {
  return Object.fromEntries(words.map((word) => [word, 0])) as Record<Word, number>
}
