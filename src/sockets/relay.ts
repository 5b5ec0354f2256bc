/** How does an open WebSocket pass bytes? Unchanged, with back-pressure; the gateway closes it only between two frames. */
import { randomBytes } from 'node:crypto'
import type { Duplex } from 'node:stream'
import { closeFrame, FrameFollower, type FrameSender, type StopAt } from '../http/frames.ts'
import type { Outcome } from '../request/outcome.ts'
import { SESSION_ENDED, type CloseReason } from '../answers/close-reasons.ts'
import type { OpenSocket } from './open-sockets.ts'
import type { TerminalLines } from './terminal-lines.ts'
import type { Principal } from '../identity/token.ts'
import type { Watched } from '../limits/watchdog.ts'

/** How long a closing connection waits for the end of the current frame, and then for the client's close frame, in milliseconds. */
const CLOSE_MS = 1000

/** Of that time, how long a terminal's last line waits for the end of the current message, in milliseconds. */
const LINE_MS = 500

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
  /** What the gateway says to the person at the client; undefined unless the service is a terminal. */
  readonly lines: TerminalLines | undefined
  /** Called once, when both sockets are closed. */
  readonly onEnd: (relay: WebSocketRelay) => void
}

type RelayState =
  /** `close` → closing. Both sockets closed → ended. */
  | 'open'
  /** The gateway ends the connection. Both sockets closed → ended; `destroy` closes them when that takes too long. */
  | 'closing'
  | 'ended'

/** An open WebSocket between a client and a service. */
export class WebSocketRelay implements OpenSocket, Watched, DirectionOwner {
  place = -1
  readonly principal: Principal
  readonly address: string
  readonly #openedAt = Date.now()
  readonly #client: Duplex
  readonly #service: Duplex
  readonly #outcome: Outcome
  readonly #onEnd: (relay: WebSocketRelay) => void
  readonly #fromClient: Direction
  readonly #fromService: Direction
  readonly #lines: TerminalLines | undefined
  /** How many bytes the service had sent at the last check; -1 before the first. */
  #bytesAtCheck = -1
  #timer: NodeJS.Timeout | undefined
  #state: RelayState = 'open'

  constructor(pair: RelayPair) {
    // The fields, not the pair: the pair holds the handshakes' bytes, which would stay in memory as long as the socket is open.
    const { client, service } = pair
    this.#client = client
    this.#service = service
    this.#outcome = pair.outcome
    this.#onEnd = pair.onEnd
    this.#lines = pair.lines
    this.principal = pair.principal
    this.address = pair.address
    for (const side of [client, service]) {
      // Neither closures nor `once`: each would be a hundred bytes and more for as long as the WebSocket is open.
      side.on('error', destroyItself)
      side.on('end', this.#onSideEnd)
      side.on('close', this.#onSideClose)
      tune(side)
    }
    this.#fromClient = new Direction(client, service, 'client', this)
    this.#fromService = new Direction(service, client, 'server', this)
    client.write(pair.answer, 'latin1')
    this.#fromService.start(pair.serviceHead)
    this.#fromClient.start(pair.clientHead)
    // A socket may have closed or ended before these listeners were added.
    if ([client, service].some((side) => side.closed || side.readableEnded))
      process.nextTick(this.#onSideClose)
  }

  /**
   * Ends the connection: sends each side a close frame as soon as the current frame has passed, then ends the sockets. A
   * terminal's client gets a line before that, which needs the end of the current message.
   */
  close(why: CloseReason): void {
    if (this.#state !== 'open') return
    this.#state = 'closing'
    const { code, reason } = why
    this.#outcome.reason ??= reason
    const line = this.#lines?.farewell(why)
    this.#fromService.endWith(closeFrame(code, reason), () => this.#client.end(), line)
    // The keeper of terminals waits longer for the page of a connection that ended than for a page that has gone away (1001).
    const toService = closeFrame(this.#lines?.isKept === true ? code : 1001, '', randomBytes(4))
    this.#fromClient.endWith(toService, () => this.#service.end())
    clearTimeout(this.#timer) // of a side that has ended: its bytes had longer to reach the other side
    this.#timer = setTimeout(() => {
      this.#fromService.forgoLine()
      this.#timer = setTimeout(() => this.destroy(), CLOSE_MS - LINE_MS)
    }, LINE_MS)
  }

  onPassed(sender: FrameSender, bytes: number): void {
    if (sender === 'client') this.#outcome.bytesIn += bytes
    else this.#outcome.bytesOut += bytes
  }

  onIllegalFrame(sender: FrameSender): void {
    this.#outcome.reason = `illegal frame from the ${sender}`
    this.close({ code: sender === 'client' ? 1002 : 1011, reason: 'protocol error' })
  }

  check(_now: number, wallClock: number): void {
    if (this.principal.session.isOver(wallClock, this.#openedAt)) this.close(SESSION_ENDED)
    else if (this.#lines !== undefined) this.#remind(this.#lines, wallClock)
  }

  #remind(lines: TerminalLines, wallClock: number): void {
    const [before, { bytesOut }] = [this.#bytesAtCheck, this.#outcome]
    this.#bytesAtCheck = bytesOut
    if (before < 0 || this.#state !== 'open') return
    const reminder = lines.reminder(wallClock, bytesOut === before)
    if (reminder !== undefined) this.#fromService.insert(reminder)
  }

  // A WebSocket does not continue half-open: the other side gets the bytes that were read, and may send its close frame.
  readonly #onSideEnd = (): void => {
    this.#fromService.forgoLine() // a service that ends will not end its message
    this.#destroyAfter(FLUSH_MS)
  }

  readonly #onSideClose = (): void => {
    const [client, service] = [this.#client, this.#service]
    this.#fromService.forgoLine()
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
    this.#onEnd(this)
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
  /** `endWith` at the place for its last frame → over, else → finishing. An illegal frame → illegal, or over within another frame. */
  | 'open'
  /** Bytes still pass up to the place for the last frame → over. An illegal frame → over, without a last line. */
  | 'finishing'
  /** Whole frames have passed, and then an illegal one came. `endWith` → over, with a last frame that tells the sink why. */
  | 'illegal'
  /** Nothing passes any more; what comes is read and dropped. */
  | 'over'

interface LastFrame {
  /** A message before the frame, if a message of the source does not have to be interrupted for it. */
  readonly line: Buffer | undefined
  readonly frame: Buffer
  readonly onSent: () => void
}

/** The relay, as one of its directions sees it. */
interface DirectionOwner {
  /** Bytes of whole or begun frames were passed on. */
  onPassed(sender: FrameSender, bytes: number): void
  onIllegalFrame(sender: FrameSender): void
}

/** One direction of a relay. */
class Direction {
  readonly #source: Duplex
  readonly #sink: Duplex
  readonly #sender: FrameSender
  readonly #owner: DirectionOwner
  readonly #follower: FrameFollower
  #state: DirectionState = 'open'
  /** The last frame, while the direction is finishing. */
  #lastFrame: LastFrame | undefined
  /** A message of the gateway that waits for the end of the current message of the source. */
  #inserted: Buffer | undefined
  /** Where to stop reading, because something of the gateway's own is to be sent there. */
  #stopAt: StopAt | undefined
  #discarded = 0

  constructor(source: Duplex, sink: Duplex, sender: FrameSender, owner: DirectionOwner) {
    this.#source = source
    this.#sink = sink
    this.#sender = sender
    this.#owner = owner
    this.#follower = new FrameFollower(sender)
  }

  start(head: Buffer): void {
    if (head.length > 0) this.#relay(head)
    this.#source.on('data', (chunk: Buffer) => this.#relay(chunk))
    this.#source.on('end', () => {
      if (!this.#sink.writableEnded) this.#sink.end()
    })
    this.#sink.on('drain', () => this.#source.resume())
  }

  /** Writes a message of the gateway's own between two messages of the source, now or as soon as the current one has passed. */
  insert(message: Buffer): void {
    if (this.#state !== 'open') return
    this.#inserted = message
    this.#stopAt = 'message'
    if (this.#follower.isBetweenMessages) this.#writeInserted()
  }

  /** Writes a last frame once the current frame has passed, or the current message if there is a line; nothing after it. */
  endWith(frame: Buffer, onSent: () => void, line?: Buffer): void {
    const lastFrame = { line, frame, onSent }
    switch (this.#state) {
      case 'open':
        this.#source.resume()
        this.#state = 'finishing'
        this.#lastFrame = lastFrame
        this.#stopAt = line === undefined ? 'frame' : 'message'
        if (this.#isAtStop) this.#finish(lastFrame)
        break
      case 'illegal':
        this.#source.resume()
        this.#finish(lastFrame)
        break
      case 'finishing':
        break
      case 'over':
        onSent()
        break
    }
  }

  /** Waits no longer for the end of the current message: the last frame needs the end of the current frame only. */
  forgoLine(): void {
    if (this.#lastFrame === undefined) return
    this.#stopAt = 'frame'
    if (this.#isAtStop) this.#finish(this.#lastFrame)
  }

  get #isAtStop(): boolean {
    const { atBoundary, isBetweenMessages } = this.#follower
    return this.#stopAt === 'frame' ? atBoundary : isBetweenMessages
  }

  #relay(chunk: Buffer): void {
    if (this.#state === 'over' || this.#sink.destroyed) {
      this.#discard(chunk)
      return
    }
    const { atBoundary } = this.#follower
    const taken = this.#follower.follow(chunk, this.#stopAt)
    if (taken < 0) {
      this.#onIllegalFrame(atBoundary)
      return
    }
    this.#owner.onPassed(this.#sender, taken)
    if (
      !this.#sink.writableEnded &&
      !this.#sink.write(taken === chunk.length ? chunk : chunk.subarray(0, taken))
    ) {
      this.#source.pause()
    }
    if (this.#stopAt === undefined || (taken === chunk.length && !this.#isAtStop)) return
    if (this.#lastFrame !== undefined) {
      this.#finish(this.#lastFrame)
    } else {
      this.#writeInserted()
      if (taken < chunk.length) this.#relay(chunk.subarray(taken))
    }
  }

  /** Nothing of the chunk passes. The sink is told why, unless that would fall into the middle of a frame. */
  #onIllegalFrame(wasAtBoundary: boolean): void {
    if (wasAtBoundary && this.#lastFrame !== undefined) this.#finish(this.#lastFrame)
    else this.#state = wasAtBoundary ? 'illegal' : 'over'
    this.#owner.onIllegalFrame(this.#sender)
  }

  /** Writes the message that waits, or drops it when the source closes the connection in the middle of its own. */
  #writeInserted(): void {
    if (
      this.#inserted !== undefined &&
      this.#follower.isBetweenMessages &&
      !this.#sink.writableEnded
    )
      this.#sink.write(this.#inserted)
    this.#inserted = undefined
    this.#stopAt = undefined
  }

  /** Reads on, because a close frame may come; a sender that does not stop is cut. */
  #discard({ length }: Buffer): void {
    this.#discarded += length
    if (this.#discarded > MAX_DISCARDED_BYTES) this.#source.destroy()
  }

  #finish({ line, frame, onSent }: LastFrame): void {
    this.#state = 'over'
    this.#lastFrame = undefined
    this.#inserted = undefined
    if (!this.#sink.writableEnded) {
      if (line !== undefined && this.#follower.isBetweenMessages) this.#sink.write(line)
      this.#sink.write(frame)
    }
    onSent()
  }
}

/** Closes a side that has failed. */
function destroyItself(this: Duplex): void {
  this.destroy()
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
