/**
 * How does the link stay known to the relay? By one connection, on which it sits at its places and hears of knocks. It is opened again
 * whenever it ends, with growing pauses.
 */
import type { Logger } from 'pino'
import type { RawData, WebSocket } from 'ws'
import type { Bytes } from '../protocol/bytes.ts'
import {
  CONTROL_PATH,
  decodeRelayMessage,
  encodeDaemonMessage,
  IDLE_MS,
  MAX_PLACES,
  PING_MS,
  type RelayMessage,
} from '../protocol/relay-wire.ts'
import type { LinkClock } from './clock.ts'
import type { MeetingPlace, PlaceChanges } from './meeting-places.ts'
import {
  BackOff,
  dialRelay,
  HANDSHAKE_MS,
  hangUp,
  HELD_MS,
  MAX_HOPS,
  nodeNamed,
} from './relay-socket.ts'
import { relayProblem } from './relay-problem.ts'

/** How long the maker of a pairing link waits for its place, in milliseconds. */
const SEATED_MS = 2000

/** What the control connection needs, and whom it tells. */
export interface ControlParts {
  /** As configured. */
  readonly relay: string
  readonly clock: LinkClock
  readonly logger: Logger
  /** The places as they are now. */
  readonly places: () => readonly MeetingPlace[]
  /** A device knocked. @param node where the seat for it is */
  readonly onKnock: (node: string, place: Bytes, ticket: Bytes) => void
  /** The connection is open. */
  readonly onConnected: () => void
}

/** The control connection. */
export class Control {
  readonly #parts: ControlParts
  readonly #backOff: BackOff
  #socket: WebSocket | undefined
  #node: string
  #hops = 0
  #openedAt: number | undefined
  #heardAt = 0
  #saidAt = 0
  #since: number | undefined
  /** Ids that another node has, to be asked for again. */
  #taken: readonly Bytes[] = []
  /** Who waits to hear that the link sits at a place, by its id. */
  readonly #waiting = new Map<string, () => void>()
  #cancelDial = () => {}
  #isClosed = false
  /** Why it is not connected; undefined while it is, and before the first attempt has failed. */
  #problem: string | undefined
  #isTakenLogged = false

  constructor(parts: ControlParts) {
    this.#parts = parts
    this.#backOff = new BackOff(parts.clock.random)
    this.#node = parts.relay
  }

  get isConnected(): boolean {
    return this.#openedAt !== undefined
  }

  /** Since when it is connected, or not, in milliseconds since 1970; undefined before the first connection. */
  get since(): number | undefined {
    return this.#since
  }

  /** Why it is not connected, as a sentence; undefined while it is, and before the first attempt has failed. */
  get problem(): string | undefined {
    return this.#problem
  }

  /** Opens the connection, and keeps it open. */
  open(): void {
    this.#dial()
  }

  /** Says which places have come and gone. */
  follow({ come, gone }: PlaceChanges): void {
    if (!this.isConnected) return
    this.#leave(gone.map(({ id }) => id))
    this.#sit(come)
  }

  /**
   * Waits until the relay has said that the link sits at a place, which was given to {@link follow} just now: a device that comes earlier
   * hears that nobody is there. Not for longer than {@link SEATED_MS}, and not while the relay is away.
   */
  async seatedAt(id: Bytes): Promise<void> {
    if (!this.isConnected) return
    const { promise, resolve } = Promise.withResolvers<void>()
    const cancel = this.#parts.clock.after(SEATED_MS, resolve)
    this.#waiting.set(String(id), resolve)
    await promise
    cancel()
    this.#waiting.delete(String(id))
  }

  /** Called every few seconds: pings, notices silence, and asks again for places that another node has. */
  tick(): void {
    const { clock } = this.#parts
    const socket = this.#socket
    if (socket === undefined || this.#openedAt === undefined) return
    const now = clock.elapsed()
    if (now - this.#openedAt >= HELD_MS) this.#backOff.reset()
    if (now - this.#heardAt >= IDLE_MS) {
      socket.terminate()
      return
    }
    if (now - this.#saidAt >= PING_MS) this.#send({ kind: 'ping' })
    if (this.#taken.length > 0) {
      const wanted = new Set(this.#taken.map(String))
      this.#taken = []
      this.#sit(this.#parts.places().filter(({ id }) => wanted.has(String(id))))
    }
  }

  /** Closes the connection for good. */
  close(): void {
    this.#isClosed = true
    this.#cancelDial()
    if (this.#socket !== undefined) hangUp(this.#socket)
  }

  #dial(): void {
    if (this.#isClosed) return
    const socket = dialRelay(this.#node, CONTROL_PATH)
    this.#socket = socket
    // An answer that comes byte by byte is no silence, and would never end.
    const cancel = this.#parts.clock.after(HANDSHAKE_MS, () => socket.terminate())
    socket.once('close', cancel)
    socket.on('open', () => {
      cancel()
      this.#opened()
    })
    let problem: unknown
    socket.on('error', (error) => {
      problem ??= error
    })
    socket.on('message', (data, isBinary) => this.#heard(socket, data, isBinary))
    socket.on('close', (code, reason) => this.#ended(code, reason, problem))
  }

  #opened(): void {
    const { clock, logger, places, onConnected } = this.#parts
    this.#openedAt = clock.elapsed()
    this.#heardAt = this.#openedAt
    this.#since = clock.now()
    this.#problem = undefined
    logger.info({ relay: this.#node }, 'connected to the relay')
    this.#sit(places())
    onConnected()
  }

  #heard(socket: WebSocket, data: RawData, isBinary: boolean): void {
    if (this.#isClosed || socket !== this.#socket) return
    this.#heardAt = this.#parts.clock.elapsed()
    const message =
      isBinary && Buffer.isBuffer(data) ? decodeRelayMessage(new Uint8Array(data)) : undefined
    if (message === undefined) {
      this.#parts.logger.warn('the relay has said something that breaks a rule')
      socket.terminate()
    } else this.#act(message)
  }

  #act(message: RelayMessage): void {
    if (message.kind === 'knock') this.#parts.onKnock(this.#node, message.place, message.ticket)
    else if (message.kind === 'seated')
      for (const place of message.places) this.#waiting.get(String(place))?.()
    else if (message.kind === 'taken') {
      this.#taken = [...this.#taken, ...message.places].slice(-MAX_PLACES)
      if (this.#isTakenLogged) return
      this.#isTakenLogged = true // once for each connection: a relay can say it without end
      this.#parts.logger.warn(
        { places: message.places.length },
        'another node of the relay has places of ours; they are asked for again until they are back',
      )
    }
  }

  #ended(code: number, reason: Buffer, error: unknown): void {
    const { relay, clock, logger } = this.#parts
    const wasOpen = this.#openedAt !== undefined
    if (wasOpen) this.#since = clock.now()
    if (this.#openedAt !== undefined && clock.elapsed() - this.#openedAt >= HELD_MS)
      this.#backOff.reset()
    this.#socket = undefined
    this.#openedAt = undefined
    this.#taken = []
    this.#isTakenLogged = false
    if (this.#isClosed) return
    const node = nodeNamed(relay, code, reason)
    const isFollowed = node !== undefined && this.#hops < MAX_HOPS
    this.#hops = isFollowed ? this.#hops + 1 : 0
    this.#node = isFollowed ? node : relay
    const wait = isFollowed ? 0 : this.#backOff.next()
    if (!isFollowed) {
      const problem = relayProblem(error, code)
      // Once for each reason, until it is back: a relay may be away for days.
      if (problem !== this.#problem)
        logger.warn(
          { relay, code, problem },
          'the relay is away; it is tried again until it is back',
        )
      this.#problem = problem
    }
    this.#cancelDial = clock.after(wait, () => this.#dial())
  }

  #sit(places: readonly MeetingPlace[]): void {
    const keys = places.map(({ key }) => key)
    if (keys.length > 0) this.#send({ kind: 'sit', keys })
  }

  #leave(places: readonly Bytes[]): void {
    if (places.length > 0) this.#send({ kind: 'leave', places })
  }

  #send(message: Parameters<typeof encodeDaemonMessage>[0]): void {
    this.#saidAt = this.#parts.clock.elapsed()
    this.#socket?.send(encodeDaemonMessage(message))
  }
}
