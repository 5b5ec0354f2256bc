/** How does a device meet the workspace? It knocks at the meeting place, follows the relay to the node that has it, and shakes hands. */
import type { Bytes } from '../protocol/bytes.ts'
import { beginHandshake, type DeviceHello, type Met, type Purpose } from '../protocol/handshake.ts'
import { NoiseError, type NoiseKeyPair } from '../protocol/noise.ts'
import { COMPLETE_MS, RELAY_CLOSE } from '../protocol/relay-wire.ts'
import type { ClientClock } from './clock.ts'
import { PlaceSocket, problemOf, type OpenSocket } from './place-socket.ts'
import { RemoteError } from './remote-error.ts'

/** How often the relay may send a device on to another of its nodes, in a row. */
const MAX_HOPS = 3

/** How long the workspace may take to answer, in milliseconds: what the relay gives it, and a way there and back. */
const ANSWER_MS = COMPLETE_MS + 10_000

/** What a device needs to meet its workspace. */
export interface MeetOptions {
  readonly purpose: Purpose
  readonly own: NoiseKeyPair
  readonly daemonKey: Bytes
  readonly hello: DeviceHello
  readonly relay: string
  readonly clock: ClientClock
  readonly signal?: AbortSignal | undefined
  readonly openSocket?: OpenSocket | undefined
}

/** A device and a workspace that know each other, on a connection that has no channel yet. */
export interface Meeting {
  readonly met: Met
  readonly socket: PlaceSocket
}

/** Meets the workspace. @throws {RemoteError} */
export async function meet(options: MeetOptions): Promise<Meeting> {
  let { relay } = options
  for (let hops = 0; hops <= MAX_HOPS; hops++) {
    const found = await knock({ ...options, relay })
    if (typeof found !== 'string') return found
    relay = found
  }
  throw new RemoteError('relay-unreachable', 'the relay sent this device on too many times')
}

/** Knocks once. @returns the meeting, or the address of the node that has the place */
async function knock(options: MeetOptions): Promise<Meeting | string> {
  const { purpose, relay, clock, signal, openSocket } = options
  const place = purpose.kind === 'pair' ? purpose.offer.place : purpose.place
  // A new first message for each knock: the workspace refuses one that it has seen.
  const { first, finish } = await beginHandshake(options)
  const socket = await PlaceSocket.dial({ relay, place, clock, signal, openSocket })
  socket.send(first)
  const second = await socket.next({ limitMs: ANSWER_MS, clock, signal })
  if (!(second instanceof Uint8Array)) {
    if (second.code === RELAY_CLOSE.otherNode) return nodeAddress(options.relay, second.reason)
    throw problemOf(second)
  }
  try {
    return { met: await finish(second), socket }
  } catch (cause) {
    socket.close()
    if (!(cause instanceof NoiseError)) throw cause
    throw new RemoteError(
      'not-the-workspace',
      'what answered at the relay is not the workspace, or something has changed what it sent',
      { cause },
    )
  }
}

/**
 * The address of another node of the relay, which it gives as the reason of a close.
 * @throws {RemoteError} for an address that is none of the relay's own: on another host than its own and those below, or without TLS
 * where the relay has it
 */
export function nodeAddress(relay: string, address: string): string {
  const from = partsOf(relay)
  const to = partsOf(address)
  const isBelow =
    from !== undefined &&
    to !== undefined &&
    (to.host === from.host || to.host.endsWith(`.${from.host}`))
  if (!isBelow || (to.scheme === 'ws' && from.scheme !== 'ws'))
    throw new RemoteError(
      'relay-unreachable',
      'the relay sent this device to an address that is not its own',
    )
  return address
}

const ADDRESS =
  /^(?<scheme>wss?):\/\/(?<host>[a-z0-9](?:[a-z0-9.-]{0,252}[a-z0-9])?|\[[0-9a-f:.]{2,45}\])(?::[0-9]{1,5})?$/

function partsOf(address: string): { scheme: string; host: string } | undefined {
  const { scheme, host } = ADDRESS.exec(address)?.groups ?? {}
  return scheme === undefined || host === undefined ? undefined : { scheme, host }
}
