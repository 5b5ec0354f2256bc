/** How does a device knock at a meeting place? With one WebSocket to the relay, in Node and in browsers alike. */
import { toBase64Url, type Bytes } from '../protocol/bytes.ts'
import type { FrameLink } from '../protocol/channel.ts'
import { DEVICE_PREFIX, MAX_FRAME_BYTES, RELAY_CLOSE } from '../protocol/relay-wire.ts'
import type { ClientClock } from './clock.ts'
import { RemoteError, type RemoteProblem } from './remote-error.ts'

/** How long a relay may take to accept a connection, in milliseconds. */
const OPEN_MS = 15_000

/** Frames that may wait before the channel takes them. The handshake has one; the welcome may follow at once. */
const MAX_EARLY_FRAMES = 64

/** The close code of a device that has done what it wanted (RFC 6455 section 7.4.1). */
const NORMAL = 1000

/** How a connection to the relay ended. */
export interface PlaceClose {
  readonly code: number
  readonly reason: string
}

/** Who takes the frames of a connection. No listener may throw. */
export interface PlaceListener {
  onFrame(frame: Bytes): void
  /** Called once. Nothing follows. */
  onClose(close: PlaceClose): void
}

/** What is needed of a WebSocket: the part that those of browsers, of Node and of packages have in common. */
export interface FrameSocket {
  readonly readyState: number
  readonly bufferedAmount: number
  send(frame: Bytes): void
  close(code: number): void
  addEventListener(type: 'open' | 'error', listener: () => void): void
  addEventListener(type: 'message', listener: (event: { readonly data: unknown }) => void): void
  addEventListener(type: 'close', listener: (event: PlaceClose) => void): void
}

/** Opens a WebSocket that gives binary messages as `ArrayBuffer`. */
export type OpenSocket = (url: string) => FrameSocket

/** With the WebSocket of the platform. In a browser the browser bounds what a relay can do with it. */
const openGlobal: OpenSocket = (url) => {
  const socket = new WebSocket(url)
  socket.binaryType = 'arraybuffer'
  return socket
}

/** The state of an open WebSocket, everywhere. */
const OPEN = 1

/** One connection of a device to a meeting place. The frames that come before {@link listen} wait. */
export class PlaceSocket implements FrameLink {
  readonly #socket: FrameSocket
  readonly #early: Bytes[] = []
  #listener: PlaceListener | undefined
  #wake: (() => void) | undefined
  #closed: PlaceClose | undefined
  #isOpen = false

  private constructor(socket: FrameSocket) {
    this.#socket = socket
    this.#socket.addEventListener('open', () => {
      this.#isOpen = true
      this.#wake?.()
    })
    this.#socket.addEventListener('message', ({ data }) => this.#take(data))
    this.#socket.addEventListener('close', ({ code, reason }) => this.#end({ code, reason }))
    // Nothing is known of an error but that a close follows.
    this.#socket.addEventListener('error', () => {})
  }

  /**
   * Connects to a place.
   * @param relay `wss://host[:port]`, or `ws://` on a loopback host
   * @throws {RemoteError} `relay-unreachable` or `timed-out`; `aborted` by the signal
   */
  static async dial(options: {
    readonly relay: string
    readonly place: Bytes
    readonly clock: ClientClock
    readonly signal?: AbortSignal | undefined
    /** Default: with the WebSocket of the platform. */
    readonly openSocket?: OpenSocket | undefined
  }): Promise<PlaceSocket> {
    const { relay, place, clock, signal, openSocket = openGlobal } = options
    const socket = new PlaceSocket(openSocket(`${relay}${DEVICE_PREFIX}${toBase64Url(place)}`))
    await socket.#until(() => socket.#isOpen, { clock, signal, limitMs: OPEN_MS })
    if (socket.#isOpen) return socket
    throw new RemoteError(
      'relay-unreachable',
      `the relay ${relay} cannot be reached, or does not accept this connection`,
    )
  }

  /**
   * Waits for one frame, before {@link listen}.
   * @returns the frame, or how the connection ended without one
   * @throws {RemoteError} `timed-out`; `aborted` by the signal
   */
  async next(options: {
    readonly limitMs: number
    readonly clock: ClientClock
    readonly signal?: AbortSignal | undefined
  }): Promise<Bytes | PlaceClose> {
    await this.#until(() => this.#early.length > 0, options)
    return this.#early.shift() ?? this.#closed ?? { code: RELAY_CLOSE.badMessage, reason: '' }
  }

  /** Hands every frame that has come, and those that will, to a listener. */
  listen(listener: PlaceListener): void {
    this.#listener = listener
    for (const frame of this.#early.splice(0)) listener.onFrame(frame)
    if (this.#closed !== undefined) listener.onClose(this.#closed)
  }

  send(frame: Bytes): void {
    if (this.#socket.readyState === OPEN) this.#socket.send(frame)
  }

  unsentBytes(): number {
    return this.#socket.bufferedAmount
  }

  close(): void {
    this.#socket.close(NORMAL)
  }

  #take(data: unknown): void {
    if (this.#closed !== undefined) return
    const isFrame = data instanceof ArrayBuffer && data.byteLength <= MAX_FRAME_BYTES
    if (!isFrame || (this.#listener === undefined && this.#early.length >= MAX_EARLY_FRAMES)) {
      this.#end({ code: RELAY_CLOSE.badMessage, reason: 'the relay passed what is no frame' })
      this.close()
      return
    }
    const frame = new Uint8Array(data)
    if (this.#listener !== undefined) this.#listener.onFrame(frame)
    else {
      this.#early.push(frame)
      this.#wake?.()
    }
  }

  #end(close: PlaceClose): void {
    if (this.#closed !== undefined) return
    this.#closed = close
    this.#wake?.()
    this.#listener?.onClose(close)
  }

  /** Waits for a condition, for the end of the connection, for the limit or for the signal. */
  async #until(
    condition: () => boolean,
    options: {
      readonly limitMs: number
      readonly clock: ClientClock
      readonly signal?: AbortSignal | undefined
    },
  ): Promise<void> {
    const { limitMs, clock, signal } = options
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const look = () => {
      if (condition() || this.#closed !== undefined) resolve()
    }
    const giveUp = (error: RemoteError) => {
      reject(error)
      this.close()
    }
    const abort = () => giveUp(new RemoteError('aborted', 'the connection was given up'))
    const cancel = clock.after(limitMs, () => giveUp(new RemoteError('timed-out', NO_ANSWER)))
    signal?.addEventListener('abort', abort)
    this.#wake = look
    look()
    if (signal?.aborted === true) abort()
    try {
      await promise
    } finally {
      cancel()
      signal?.removeEventListener('abort', abort)
      this.#wake = undefined
    }
  }
}

const NO_ANSWER = 'the relay, or the workspace behind it, did not answer in time'

/** What the end of a connection means, before the workspace has answered. */
export function problemOf({ code }: PlaceClose): RemoteError {
  const [problem, text] = MEANINGS[code] ?? [
    'cut',
    'the connection ended before the workspace answered',
  ]
  return new RemoteError(problem, text)
}

const MEANINGS: Readonly<Record<number, readonly [RemoteProblem, string]>> = {
  [RELAY_CLOSE.nobodyThere]: ['nobody-there', 'the workspace is not at the relay'],
  [RELAY_CLOSE.timedOut]: ['timed-out', NO_ANSWER],
  [RELAY_CLOSE.tooMany]: ['too-many', 'the relay has too many connections of this address'],
  [RELAY_CLOSE.restart]: ['restart', 'the relay restarts'],
  [RELAY_CLOSE.badMessage]: ['cut', 'the relay passed what is no message of the workspace'],
}
