/** How does an open WebSocket pass bytes? Unchanged, with back-pressure; the gateway closes it only between two frames. */
import { randomBytes } from 'node:crypto'
import type { Duplex } from 'node:stream'
import { closeFrame, FrameFollower, type FrameSender } from '../http/frames.ts'
import type { Outcome } from '../request/outcome.ts'
import { SESSION_ENDED, type OpenSocket } from './open-sockets.ts'
import type { Principal } from '../identity/token.ts'
import type { Watched } from '../limits/watchdog.ts'

/** How long a closing connection waits for the end of the current frame, and then for the client's close frame, in milliseconds. */
const CLOSE_MS = 1000

/** After one side has ended: how long bytes that were already read may take to reach the other side, in milliseconds. */
const FLUSH_MS = 5000

/** How many bytes of a side are read and dropped after its last frame: a close frame may be among them, or they may never end. */
const MAX_DISCARDED_BYTES = 1024 * 1024

/** After how long without a byte TCP keep-alive probes a peer that may have vanished, in milliseconds. */
const KEEP_ALIVE_MS = 30_000

/** The two sides of a WebSocket, and what is known of it. */
export interface RelayPair {
  readonly client: Duplex
  readonly service: Duplex
  /** Bytes that arrived with the client's handshake. */
  readonly clientHead: Buffer
  /** Bytes that arrived with the service's handshake. */
  readonly serviceHead: Buffer
  readonly principal: Principal
  readonly address: string
  readonly outcome: Outcome
  /** The service's `101` response, as it is written to the client. */
  readonly answer: string
  /** Called once, when both sockets are closed. */
  readonly onEnd: () => void
}

type RelayState =
  /** `close` → closing. Both sockets closed → ended. */
  | 'open'
  /** The gateway ends the connection. Both sockets closed → ended; `destroy` closes them when that takes too long. */
  | 'closing'
  | 'ended'

/** An open WebSocket between a client and a service. */
export class WebSocketRelay implements OpenSocket, Watched {
  place = -1
  readonly principal: Principal
  readonly address: string
  readonly #openedAt = Date.now()
  readonly #client: Duplex
  readonly #service: Duplex
  readonly #outcome: Outcome
  readonly #onEnd: () => void
  readonly #fromClient: Direction
  readonly #fromService: Direction
  #timer: NodeJS.Timeout | undefined
  #state: RelayState = 'open'

  constructor(pair: RelayPair) {
    // The fields, not the pair: the pair holds the handshakes' bytes, which would stay in memory as long as the socket is open.
    const { client, service, outcome } = pair
    this.#client = client
    this.#service = service
    this.#outcome = outcome
    this.#onEnd = pair.onEnd
    this.principal = pair.principal
    this.address = pair.address
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
    // A socket may have closed or ended before these listeners were added.
    if ([client, service].some((side) => side.closed || side.readableEnded))
      process.nextTick(this.#onSideClose)
  }

  /** Ends the connection: sends each side a close frame as soon as the current frame has passed, then ends the sockets. */
  close({ code, reason }: { code: number; reason: string }): void {
    if (this.#state !== 'open') return
    this.#state = 'closing'
    this.#outcome.reason ??= reason
    this.#fromService.endWith(closeFrame(code, reason), () => this.#client.end())
    this.#fromClient.endWith(closeFrame(1001, '', randomBytes(4)), () => this.#service.end())
    this.#destroyAfter(CLOSE_MS)
  }

  check(_now: number, wallClock: number): void {
    if (this.principal.session.isOver(wallClock, this.#openedAt)) this.close(SESSION_ENDED)
  }

  // A WebSocket does not continue half-open: the other side gets the bytes that were read, and may send its close frame.
  readonly #onSideEnd = (): void => {
    this.#destroyAfter(FLUSH_MS)
  }

  readonly #onSideClose = (): void => {
    const [client, service] = [this.#client, this.#service]
    // When one socket closes, the other one is ended, not destroyed: bytes that were read before still arrive.
    for (const side of [client, service]) {
      if (side.destroyed) continue
      if (!side.writableEnded) side.end()
      side.resume() // it may be paused, waiting for the socket that has closed
    }
    this.#destroyAfter(FLUSH_MS)
    if (!client.destroyed || !service.destroyed || this.#state === 'ended') return
    this.#state = 'ended'
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

type DirectionState =
  /** `endWith` between two frames → over, within one → finishing. An illegal frame → illegal, or over within another frame. */
  | 'open'
  /** The current frame still passes, then the last frame is sent → over. An illegal frame → over, without the last frame. */
  | 'finishing'
  /** Whole frames have passed, and then an illegal one came. `endWith` → over, with a last frame that tells the sink why. */
  | 'illegal'
  /** Nothing passes any more; what comes is read and dropped. */
  | 'over'

interface LastFrame {
  readonly frame: Buffer
  readonly onSent: () => void
}

/** One direction of a relay. */
class Direction {
  readonly #source: Duplex
  readonly #sink: Duplex
  readonly #follower: FrameFollower
  readonly #onIllegal: () => void
  readonly #count: (bytes: number) => void
  #state: DirectionState = 'open'
  /** The last frame, while the direction is finishing. */
  #lastFrame: LastFrame | undefined
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

  /** Writes a last frame once the current frame has passed; nothing after it. */
  endWith(frame: Buffer, onSent: () => void): void {
    switch (this.#state) {
      case 'open':
        this.#source.resume()
        if (this.#follower.atBoundary) {
          this.#finish({ frame, onSent })
        } else {
          this.#state = 'finishing'
          this.#lastFrame = { frame, onSent }
        }
        break
      case 'illegal':
        this.#source.resume()
        this.#finish({ frame, onSent })
        break
      case 'finishing':
        break
      case 'over':
        onSent()
        break
    }
  }

  #relay(chunk: Buffer): void {
    if (this.#state === 'over' || this.#sink.destroyed) {
      this.#discard(chunk)
      return
    }
    const { atBoundary } = this.#follower
    const taken = this.#follower.follow(chunk, this.#state === 'finishing')
    if (taken < 0) {
      // Nothing of this chunk passes. The sink is told why, unless that would fall into the middle of a frame.
      this.#state = atBoundary ? 'illegal' : 'over'
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
    if (this.#lastFrame !== undefined && this.#follower.atBoundary) this.#finish(this.#lastFrame)
  }

  /** Reads on, because a close frame may come; a sender that does not stop is cut. */
  #discard({ length }: Buffer): void {
    this.#discarded += length
    if (this.#discarded > MAX_DISCARDED_BYTES) this.#source.destroy()
  }

  #finish({ frame, onSent }: LastFrame): void {
    this.#state = 'over'
    this.#lastFrame = undefined
    if (!this.#sink.writableEnded) this.#sink.write(frame)
    onSent()
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
