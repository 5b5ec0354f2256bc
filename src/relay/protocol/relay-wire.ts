/**
 * What do a relay and its two kinds of clients say to each other? The daemon keeps one control connection, on which it takes places and
 * hears of knocks; for each knock it opens one connection more, which the relay joins with the device's. On joined connections the relay
 * passes binary messages and understands nothing.
 */
import { concat, type Bytes } from './bytes.ts'
import { PLACE_ID_LENGTH, PLACE_KEY_LENGTH } from './places.ts'

/** The daemon's control connection. */
export const CONTROL_PATH = '/v1/daemon'

/** A device's connection: the id of the place follows, in base64url. */
export const DEVICE_PREFIX = '/v1/place/'

/** A daemon's connection for one knock: the id of the place follows, a slash, and the ticket of the knock, both in base64url. */
export const SEAT_PREFIX = '/v1/seat/'

/** The longest message that a relay passes, in bytes. */
export const MAX_FRAME_BYTES = 65_536

/** Devices at one place at a time. */
export const MAX_DEVICES_PER_PLACE = 32

/** Places of one control connection. */
export const MAX_PLACES = 256

/** How long a knock waits for the daemon, in milliseconds. */
export const COMPLETE_MS = 30_000

/** A connection on which nothing was sent for so long is closed, in milliseconds. */
export const IDLE_MS = 90_000

/**
 * A record that is so late is not heard, in milliseconds: it ends its channel. As long as silence may be, so that a relay that drips records
 * can hold a command back for no longer than one that passes nothing. Long enough for what an honest line holds: see CHANNEL_WINDOW.
 */
export const LATE_MS = 90_000

/** How often each party says something when it has nothing to say, in milliseconds. */
export const PING_MS = 30_000

/** Bytes of the ticket of a knock. */
export const TICKET_LENGTH = 16

/** With which codes a relay closes connections, besides those of RFC 6455. */
export const RELAY_CLOSE = {
  /** A message broke a rule. */
  badMessage: 4400,
  /** No daemon sits at this place, or it has left. */
  nobodyThere: 4404,
  /** The daemon did not come in time, or nothing was sent for too long. */
  timedOut: 4408,
  /** The place belongs to another node of the relay, whose address is the reason. */
  otherNode: 4421,
  /** Too many connections of one address, or devices at one place. */
  tooMany: 4429,
  /** RFC 6455 section 7.4.1: a message was too long. */
  tooLong: 1009,
  /** RFC 6455, IANA registry: the relay restarts. */
  restart: 1012,
} as const

/** What a daemon says on its control connection. */
export type DaemonMessage =
  | { readonly kind: 'sit'; readonly keys: readonly Bytes[] }
  | { readonly kind: 'leave'; readonly places: readonly Bytes[] }
  | { readonly kind: 'ping' }

/** What a relay says on a control connection. */
export type RelayMessage =
  /** The daemon sits at these places. */
  | { readonly kind: 'seated'; readonly places: readonly Bytes[] }
  /** Other nodes have these places. Where they are is not said: the daemon tries again. */
  | { readonly kind: 'taken'; readonly places: readonly Bytes[] }
  | { readonly kind: 'knock'; readonly place: Bytes; readonly ticket: Bytes }
  | { readonly kind: 'pong' }

const DAEMON_TYPES = { sit: 0x01, leave: 0x02, ping: 0x03 } as const
const RELAY_TYPES = { seated: 0x11, taken: 0x12, knock: 0x13, pong: 0x14 } as const

/** The bytes of a daemon's message. */
export function encodeDaemonMessage(message: DaemonMessage): Bytes {
  const type = Uint8Array.of(DAEMON_TYPES[message.kind])
  if (message.kind === 'sit') return concat(type, ...message.keys)
  return message.kind === 'leave' ? concat(type, ...message.places) : type
}

/** Reads a daemon's message; undefined when it breaks a rule. */
export function decodeDaemonMessage(bytes: Bytes): DaemonMessage | undefined {
  const rest = bytes.subarray(1)
  switch (bytes[0]) {
    case DAEMON_TYPES.sit: {
      const keys = pieces(rest, PLACE_KEY_LENGTH)
      return keys === undefined ? undefined : { kind: 'sit', keys }
    }
    case DAEMON_TYPES.leave: {
      const places = pieces(rest, PLACE_ID_LENGTH)
      return places === undefined ? undefined : { kind: 'leave', places }
    }
    case DAEMON_TYPES.ping:
      return rest.length === 0 ? { kind: 'ping' } : undefined
    case undefined:
    default:
      return undefined
  }
}

/** The bytes of a relay's message. */
export function encodeRelayMessage(message: RelayMessage): Bytes {
  const type = Uint8Array.of(RELAY_TYPES[message.kind])
  if (message.kind === 'knock') return concat(type, message.place, message.ticket)
  return message.kind === 'pong' ? type : concat(type, ...message.places)
}

/** Reads a relay's message; undefined when it breaks a rule. */
export function decodeRelayMessage(bytes: Bytes): RelayMessage | undefined {
  const rest = bytes.subarray(1)
  switch (bytes[0]) {
    case RELAY_TYPES.seated:
    case RELAY_TYPES.taken: {
      const places = pieces(rest, PLACE_ID_LENGTH)
      const kind = bytes[0] === RELAY_TYPES.seated ? 'seated' : 'taken'
      return places === undefined ? undefined : { kind, places }
    }
    case RELAY_TYPES.knock:
      return rest.length === PLACE_ID_LENGTH + TICKET_LENGTH
        ? {
            kind: 'knock',
            place: rest.slice(0, PLACE_ID_LENGTH),
            ticket: rest.slice(PLACE_ID_LENGTH),
          }
        : undefined
    case RELAY_TYPES.pong:
      return rest.length === 0 ? { kind: 'pong' } : undefined
    case undefined:
    default:
      return undefined
  }
}

/** Cuts a list into pieces of one length: 1 to {@link MAX_PLACES} of them; undefined for any other number. */
function pieces(bytes: Bytes, length: number): Bytes[] | undefined {
  const count = bytes.length / length
  if (!Number.isInteger(count) || count === 0 || count > MAX_PLACES) return undefined
  return Array.from({ length: count }, (_, i) => bytes.slice(i * length, (i + 1) * length))
}
