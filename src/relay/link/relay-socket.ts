/** How does the link dial the relay? By WebSocket (RFC 6455), always outward, to the relay that is configured or to a node of its own. */
import { WebSocket } from 'ws'
import { isLoopbackHost, parseAuthority } from '../../rules/host.ts'
import { MAX_FRAME_BYTES, RELAY_CLOSE } from '../protocol/relay-wire.ts'
import { boundUnfinished, MAX_FRAGMENTS } from '../unfinished.ts'

/** How long the relay may take to accept a connection, in milliseconds. */
export const HANDSHAKE_MS = 10_000

/** How long the relay may take to answer a close, in milliseconds: until then a connection costs it and us a socket. */
const CLOSE_MS = 2000

/** How often in a row another node may be named. */
export const MAX_HOPS = 3

/** Opens a connection. Errors are for the event `close`, which always comes. */
export function dialRelay(relay: string, path: string): WebSocket {
  const socket = new WebSocket(`${relay}${path}`, {
    perMessageDeflate: false,
    maxPayload: MAX_FRAME_BYTES,
    maxFragments: MAX_FRAGMENTS,
    handshakeTimeout: HANDSHAKE_MS,
    followRedirects: false,
  })
  socket.binaryType = 'nodebuffer'
  socket.on('error', () => {}) // `close` follows
  socket.once('upgrade', ({ socket: carrier }) => {
    socket.once('open', () => boundUnfinished(socket, carrier)) // not earlier: who listens reads
  })
  return socket
}

/** Closes a connection, and cuts it when the relay does not answer. */
export function hangUp(socket: WebSocket, code: number = 1000): void {
  if (socket.readyState === WebSocket.CLOSED) return
  if (socket.readyState === WebSocket.CONNECTING) {
    socket.terminate()
    return
  }
  const timer = setTimeout(() => socket.terminate(), CLOSE_MS)
  timer.unref()
  socket.once('close', () => clearTimeout(timer))
  if (socket.isPaused) socket.resume() // else the answer is never read
  socket.close(code)
}

/**
 * The node that a relay has named as the right one: only the relay's own host or one below it, and TLS unless the relay itself has
 * none, so that a relay cannot send the link anywhere else.
 * @param relay the relay that is configured
 * @returns undefined when the connection was closed for another reason, or when the node may not be followed
 */
export function nodeNamed(relay: string, code: number, reason: Buffer): string | undefined {
  if (code !== RELAY_CLOSE.otherNode) return undefined
  const [own, other] = [partsOf(relay), partsOf(reason.toString('utf8'))]
  if (own === undefined || other === undefined) return undefined
  if (other.scheme !== 'wss' && (own.scheme !== 'ws' || !other.isLoopback)) return undefined
  const isOwn = other.host === own.host || (!own.isIp && other.host.endsWith(`.${own.host}`))
  return isOwn ? other.url : undefined
}

function partsOf(text: string) {
  const [, scheme = '', authority = ''] = /^(wss?):\/\/([^/?#@\s]+)\/?$/.exec(text) ?? []
  const parsed = parseAuthority(authority)
  if (parsed === undefined) return undefined
  const { host, isIpLiteral: isIp } = parsed
  return { scheme, host, isIp, isLoopback: isLoopbackHost(parsed), url: `${scheme}://${authority}` }
}

/** How long to wait before the next attempt: half a second, doubled each time up to a minute, of which chance takes a part. */
export class BackOff {
  readonly #random: () => number
  #tries = 0

  /** @param random from 0 to 1, without 1 */
  constructor(random: () => number) {
    this.#random = random
  }

  /** Milliseconds to the next attempt. */
  next(): number {
    const whole = Math.min(MAX_WAIT_MS, FIRST_WAIT_MS * 2 ** this.#tries)
    this.#tries++
    return this.#random() * whole
  }

  /** Begins anew, because a connection has held. */
  reset(): void {
    this.#tries = 0
  }
}

const FIRST_WAIT_MS = 500
const MAX_WAIT_MS = 60_000

/** A connection has held when it was open for so long, in milliseconds. */
export const HELD_MS = 60_000
