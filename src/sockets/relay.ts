/** How do the bytes of an open WebSocket pass? As they are, with back-pressure, and with a proper end between two frames. */
import { randomBytes } from 'node:crypto'
import type { Duplex } from 'node:stream'
import { closeFrame, FrameFollower, type FrameSender } from '../http/frames.ts'
import type { Outcome } from '../request/outcome.ts'
import { SESSION_ENDED, type OpenSocket } from './open-sockets.ts'
import type { Principal } from '../identity/token.ts'
import type { Watched } from '../limits/watchdog.ts'

/** How long the end of a frame, and then the client's goodbye, is waited for (milliseconds). */
const CLOSE_MS = 1000

/** How long what was already read may take to reach the other side after one side ended (milliseconds). */
const FLUSH_MS = 5000

/** How much is read of a side whose words reach nobody any more, in bytes: a goodbye may be in it, or no end at all. */
const MAX_DISCARDED_BYTES = 1024 * 1024

/** Vanished peers are noticed by the kernel after about this long without a byte, plus its retries (milliseconds). */
const KEEP_ALIVE_MS = 30_000

/** A connection to relay. */
export interface RelayPair {
  readonly client: Duplex
  readonly service: Duplex
  /** What arrived with the client's handshake. */
  readonly clientHead: Buffer
  /** What arrived with the service's handshake. */
  readonly serviceHead: Buffer
  readonly principal: Principal
  readonly address: string
  readonly endsAt: number
  readonly outcome: Outcome
  /** The service's `101` as the client gets it. */
  readonly answer: string
  /** Called once, when both sides are gone. */
  readonly onEnd: () => void
}

/** An open WebSocket between a client and a service. */
export class WebSocketRelay implements OpenSocket, Watched {
  place = -1
  readonly principal: Principal
  readonly address: string
  readonly endsAt: number
  readonly #client: Duplex
  readonly #service: Duplex
  readonly #outcome: Outcome
  readonly #onEnd: () => void
  readonly #fromClient: Direction
  readonly #fromService: Direction
  #timer: NodeJS.Timeout | undefined
  #closing = false
  #ended = false

  constructor(pair: RelayPair) {
    // Not the whole pair: what came with the handshakes would stay in memory as long as the socket is open.
    const { client, service, outcome } = pair
    this.#client = client
    this.#service = service
    this.#outcome = outcome
    this.#onEnd = pair.onEnd
    this.principal = pair.principal
    this.address = pair.address
    this.endsAt = pair.endsAt
    for (const side of [client, service]) {
      side.on('error', () => side.destroy())
      side.once('end', this.#onSideEnd)
      side.once('close', this.#onSideClose)
      tune(side)
    }
    const illegal = (sender: FrameSender) => () => {
      outcome.reason = `illegal frame from the ${sender}`
      this.close({ code: sender === 'client' ? 1002 : 1011, reason: 'protocol error' })
    }
    this.#fromClient = new Direction(
      client,
      service,
      'client',
      illegal('client'),
      (bytes) => (outcome.bytesIn += bytes),
    )
    this.#fromService = new Direction(
      service,
      client,
      'server',
      illegal('server'),
      (bytes) => (outcome.bytesOut += bytes),
    )
    client.write(pair.answer, 'latin1')
    this.#fromService.start(pair.serviceHead)
    this.#fromClient.start(pair.clientHead)
    // A side may have gone, or ended, before anybody listened.
    if ([client, service].some((side) => side.closed || side.readableEnded))
      process.nextTick(this.#onSideClose)
  }

  /** Ends the connection: a close frame to each side as soon as the frame under way has passed, then the sockets. */
  close({ code, reason }: { code: number; reason: string }): void {
    if (this.#closing) return
    this.#closing = true
    this.#outcome.reason ??= reason
    this.#fromService.endWith(closeFrame(code, reason), () => this.#client.end())
    this.#fromClient.endWith(closeFrame(1001, '', randomBytes(4)), () => this.#service.end())
    this.#destroyAfter(CLOSE_MS)
  }

  check(_now: number, wallClock: number): void {
    if (wallClock >= this.endsAt) this.close(SESSION_ENDED)
  }

  // No WebSocket goes on with one half: the other side gets what was read, and its chance to say goodbye.
  readonly #onSideEnd = (): void => {
    this.#destroyAfter(FLUSH_MS)
  }

  readonly #onSideClose = (): void => {
    const [client, service] = [this.#client, this.#service]
    // A service that dies ends the client's socket, and the other way round; what was read before still arrives.
    for (const side of [client, service]) {
      if (side.destroyed) continue
      if (!side.writableEnded) side.end()
      side.resume() // it may have waited for the side that has gone
    }
    this.#destroyAfter(FLUSH_MS)
    if (!client.destroyed || !service.destroyed || this.#ended) return
    this.#ended = true
    clearTimeout(this.#timer)
    this.#onEnd()
  }

  destroy(): void {
    this.#client.destroy()
    this.#service.destroy()
  }

  #destroyAfter(milliseconds: number): void {
    this.#timer ??= setTimeout(() => this.destroy(), milliseconds)
  }
}

/** One direction of a relay. */
class Direction {
  readonly #source: Duplex
  readonly #sink: Duplex
  readonly #follower: FrameFollower
  readonly #onIllegal: () => void
  readonly #count: (bytes: number) => void
  #goodbye: { frame: Buffer; onSent: () => void } | undefined
  #isOver = false
  #isIllegal = false
  #discarded = 0

  constructor(
    source: Duplex,
    sink: Duplex,
    sender: FrameSender,
    onIllegal: () => void,
    count: (bytes: number) => void,
  ) {
    this.#source = source
    this.#sink = sink
    this.#follower = new FrameFollower(sender)
    this.#onIllegal = onIllegal
    this.#count = count
  }

  start(head: Buffer): void {
    if (head.length > 0) this.#relay(head)
    this.#source.on('data', (chunk: Buffer) => this.#relay(chunk))
    this.#source.on('end', () => {
      if (!this.#sink.writableEnded) this.#sink.end()
    })
    this.#sink.on('drain', () => this.#source.resume())
  }

  /** Writes a last frame once the frame under way has passed; nothing after it. */
  endWith(frame: Buffer, onSent: () => void): void {
    if (this.#isOver) onSent()
    if (this.#isOver || this.#goodbye !== undefined) return
    this.#goodbye = { frame, onSent }
    this.#source.resume()
    if (this.#isIllegal || this.#follower.atBoundary) this.#sayGoodbye()
  }

  #relay(chunk: Buffer): void {
    if (this.#isOver || this.#sink.destroyed) {
      this.#discard(chunk)
      return
    }
    const { atBoundary } = this.#follower
    const taken = this.#follower.follow(chunk, this.#goodbye !== undefined)
    if (taken < 0) {
      // Nothing of this chunk passes; after a whole frame, the other side is still told why.
      this.#isIllegal = true
      this.#isOver = !atBoundary
      this.#onIllegal()
      return
    }
    this.#count(taken)
    if (
      !this.#sink.writableEnded &&
      !this.#sink.write(taken === chunk.length ? chunk : chunk.subarray(0, taken))
    ) {
      this.#source.pause()
    }
    if (this.#goodbye !== undefined && this.#follower.atBoundary) this.#sayGoodbye()
  }

  /** Reads on for a goodbye; a sender that does not stop is cut. */
  #discard({ length }: Buffer): void {
    this.#discarded += length
    if (this.#discarded > MAX_DISCARDED_BYTES) this.#source.destroy()
  }

  #sayGoodbye(): void {
    if (this.#isOver || this.#goodbye === undefined) return
    this.#isOver = true
    if (!this.#sink.writableEnded) this.#sink.write(this.#goodbye.frame)
    this.#goodbye.onSent()
  }
}

function tune(side: Duplex): void {
  if (!('setNoDelay' in side) || !('setKeepAlive' in side)) return
  const socket = side as Duplex & {
    setNoDelay(on: boolean): void
    setKeepAlive(on: boolean, initialDelay: number): void
  }
  socket.setNoDelay(true)
  socket.setKeepAlive(true, KEEP_ALIVE_MS)
}
