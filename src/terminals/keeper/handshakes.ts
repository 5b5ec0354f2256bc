/**
 * Which terminal does a handshake get? The one of its tab, if the same person comes back in the same session with the same
 * password; else a new shell, if ttyd agrees. ttyd is asked before the client gets its `101`.
 */
import { STATUS_CODES, type IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import type { Logger } from 'pino'
import { WebSocketServer, type WebSocket } from 'ws'
import type { TerminalsConfig } from '../../config/terminals-settings.ts'
import {
  KEPT_HEADER,
  NOT_AUTHENTICATED,
  REFUSAL_HEADER,
  SESSION_HEADERS,
  TAB_ID,
  TERMINAL_HEADER,
  TTYD_PROTOCOL,
  type Arrival,
} from '../protocol.ts'
import { ClientLink, NOBODY } from './client-link.ts'
import type { KeeperClock } from './clock.ts'
import { SecretDigest } from './digest.ts'
import { tabOf } from './plain-requests.ts'
import { loadScreens } from './screen.ts'
import { KeptTerminal, type TerminalEvents, type TerminalOwner } from './terminal.ts'
import type { Terminals } from './terminals.ts'
import { firstMessageIn } from './ttyd-messages.ts'
import { openTtyd, type TtydLink } from './ttyd-link.ts'
import { UnfinishedMessages } from './unfinished-messages.ts'

/** The largest message of a client, in bytes: more than any paste. */
const MAX_MESSAGE_BYTES = 32 * 1024 * 1024

/** How long others may take, in milliseconds. */
export interface HandshakeTimes {
  /** ttyd, to answer a handshake. */
  readonly ttydMs: number
  /** A client that comes back, to say its token. */
  readonly firstMessageMs: number
}

const HANDSHAKE_TIMES: HandshakeTimes = { ttydMs: 10_000, firstMessageMs: 10_000 }

/** What handshakes depend on. */
export interface HandshakeOptions {
  readonly config: TerminalsConfig
  readonly terminals: Terminals
  readonly logger: Logger
  readonly clock: KeeperClock
  readonly times?: HandshakeTimes | undefined
}

/** A client's handshake: what it asks for, and the connection that it came on. */
interface Handshake {
  readonly owner: TerminalOwner | undefined
  readonly tab: string | undefined
  readonly password: string
  readonly request: IncomingMessage
  readonly socket: Duplex
  /** Bytes that came behind the handshake. */
  readonly head: Buffer
}

/** Answers handshakes. */
export class Handshakes {
  readonly #config: TerminalsConfig
  readonly #terminals: Terminals
  readonly #logger: Logger
  readonly #clock: KeeperClock
  readonly #times: HandshakeTimes
  readonly #events: TerminalEvents
  readonly #unfinished: UnfinishedMessages
  /** What the `101` of a handshake says to the gateway. */
  readonly #said = new WeakMap<IncomingMessage, readonly string[]>()
  readonly #sockets = new WebSocketServer({
    noServer: true,
    clientTracking: false,
    handleProtocols: () => TTYD_PROTOCOL, // it was offered: see isHandshake
    maxPayload: MAX_MESSAGE_BYTES,
    perMessageDeflate: false,
    allowSynchronousEvents: false, // one message in a turn, or a flood of small ones keeps other clients waiting
    skipUTF8Validation: true,
  })

  constructor({ config, terminals, logger, clock, times = HANDSHAKE_TIMES }: HandshakeOptions) {
    this.#config = config
    this.#terminals = terminals
    this.#logger = logger
    this.#clock = clock
    this.#times = times
    this.#events = terminalEvents(terminals, logger)
    this.#unfinished = new UnfinishedMessages(
      terminals.bounds.unfinishedBytes,
      () => terminals.unreadInputBytes,
    )
    this.#sockets.on('headers', (headers, request) =>
      headers.push(...(this.#said.get(request) ?? [])),
    )
  }

  /**
   * Answers a handshake.
   * @param socket handles its errors already
   * @throws an error that nobody expected; the caller ends the connection
   */
  async answer(request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    if (!isHandshake(request)) {
      refuse(socket, 400)
      return
    }
    await loadScreens()
    const owner = ownerIn(request)
    if (owner !== undefined && owner.ends <= this.#clock.wall()) {
      refuse(socket, 403)
      return
    }
    const asked = tabOf(request.url ?? '')
    const tab = owner !== undefined && asked !== undefined && TAB_ID.test(asked) ? asked : undefined
    const password = request.headers.authorization ?? ''
    const handshake = { owner, tab, password, request, socket, head }
    const known = owner && tab && this.#terminals.find(owner, tab, password)
    if (known) this.#comeBack(known, handshake)
    else await this.#open(handshake)
  }

  /** Opens a new shell, if ttyd agrees. */
  async #open(handshake: Handshake): Promise<void> {
    const { owner, request, socket } = handshake
    const place = this.#terminals.reserve(owner?.sid)
    if (place === undefined) {
      this.#refuseForNow(handshake)
      return
    }
    const gone = new AbortController()
    const onGone = () => gone.abort()
    socket.once('close', onGone)
    try {
      const answer = await openTtyd({
        address: this.#config.ttydUrl,
        target: request.url ?? '',
        headers: headersFor(request),
        signal: gone.signal,
        timeoutMs: this.#times.ttydMs,
      })
      const sid = owner?.sid
      if (answer.kind === 'failed') {
        this.#logger.warn({ sid, err: answer.error }, 'ttyd did not accept a handshake')
        socket.destroy() // as ttyd does: the gateway says it to the client
      } else if (answer.kind === 'refused') {
        this.#logger.warn({ sid, status: answer.answer.statusCode }, 'ttyd refused a handshake')
        passRefusal(answer.answer, socket)
      } else if (socket.destroyed) answer.link.close()
      else if (place.makeRoom()) this.#begin(handshake, answer.link)
      else {
        answer.link.close()
        this.#refuseForNow(handshake)
      }
    } finally {
      socket.off('close', onGone)
      place.release()
    }
  }

  /** Begins a terminal at the connection to ttyd. */
  #begin(handshake: Handshake, ttyd: TtydLink): void {
    const { scrollback, parkSeconds, parkClosedSeconds } = this.#config
    const { owner, tab, password } = handshake
    const isAccepted = this.#accept(handshake, 'new', (socket) => {
      const terminal = new KeptTerminal({
        ...{ owner, tab, scrollback, ttyd, clock: this.#clock, events: this.#events },
        parkTimes: { lostMs: parkSeconds * 1000, closedMs: parkClosedSeconds * 1000 },
        password: new SecretDigest(password),
      })
      this.#terminals.add(terminal)
      this.#logger.info({ terminal: terminal.id, sid: owner?.sid }, 'terminal opened')
      terminal.begin(new ClientLink(socket, this.#clock))
    })
    if (!isAccepted) ttyd.close()
  }

  /** Gives a terminal to the client that came back, once it has said the token that ttyd accepted before. */
  #comeBack(terminal: KeptTerminal, handshake: Handshake): void {
    const arrival = terminal.state === 'attached' ? 'taken-over' : 'back'
    // Now, not with the client's first message: the gateway may say something newer until then.
    if (handshake.owner !== undefined) terminal.renew(handshake.owner)
    this.#accept(handshake, arrival, (socket) => {
      const about = { terminal: terminal.id, sid: handshake.owner?.sid, arrival }
      const link = new ClientLink(socket, this.#clock)
      const timer = setTimeout(() => socket.terminate(), this.#times.firstMessageMs)
      link.listen({
        onProgress() {},
        onEnd: () => clearTimeout(timer),
        onMessage: (message) => {
          clearTimeout(timer)
          link.listen(NOBODY) // what a client says behind a refused first message is not looked at
          const first = firstMessageIn(message)
          const result = first === undefined ? 'refused' : terminal.attach(link, first)
          if (result === 'attached') this.#logger.info(about, 'terminal continued')
          if (result === 'refused') {
            link.close(NOT_AUTHENTICATED, 'not authenticated')
            this.#logger.warn(about, 'a terminal was asked for without its token')
          }
        },
      })
    })
  }

  /** Sends the `101`. @param take gets the connection @returns whether that was possible */
  #accept(
    { request, socket, head, tab }: Handshake,
    arrival: Arrival,
    take: (socket: WebSocket) => void,
  ): boolean {
    let isTaken = false
    const { parkSeconds } = this.#config
    const isKept = tab !== undefined && parkSeconds > 0
    const kept = isKept ? [`${KEPT_HEADER}: ${parkSeconds}`] : []
    this.#said.set(request, [`${TERMINAL_HEADER}: ${arrival}`, ...kept])
    this.#sockets.handleUpgrade(request, socket, head, (webSocket) => {
      isTaken = true
      take(webSocket)
      this.#unfinished.follow(webSocket, socket)
    })
    return isTaken
  }

  #refuseForNow({ owner, socket }: Handshake): void {
    if (this.#terminals.isClosed) {
      socket.destroy() // as if nobody listened, which is so in a moment
      return
    }
    this.#logger.warn({ sid: owner?.sid }, 'too many terminals')
    refuse(socket, 503, { [REFUSAL_HEADER]: 'too-many-terminals' })
  }
}

/** What happens to terminals is logged; and one that has ended is forgotten. */
function terminalEvents(terminals: Terminals, logger: Logger): TerminalEvents {
  const about = ({ id, owner }: KeptTerminal) => ({ terminal: id, sid: owner?.sid })
  return {
    onEnd(terminal, reason) {
      terminals.delete(terminal)
      logger.info({ ...about(terminal), reason }, 'terminal ended')
    },
    onParked: (terminal, code, parkMs) =>
      logger.info({ ...about(terminal), code, seconds: parkMs / 1000 }, 'terminal parked'),
    onExited: (terminal) => logger.info(about(terminal), 'shell ended while parked'),
    onFault: (terminal, error) =>
      logger.error({ ...about(terminal), err: error }, 'fault of a terminal, which goes on'),
  }
}

/**
 * Whether ws will accept a handshake (RFC 6455 section 4.2.1). It is asked before ttyd is, so that a shell that ttyd has opened
 * always has a client.
 */
function isHandshake({ method, headers }: IncomingMessage): boolean {
  const protocols = headers['sec-websocket-protocol']?.split(',') ?? []
  return (
    method === 'GET' &&
    headers.upgrade?.toLowerCase() === 'websocket' &&
    headers['sec-websocket-version'] === '13' &&
    /^[+/0-9A-Za-z]{22}==$/.test(headers['sec-websocket-key'] ?? '') &&
    protocols.some((protocol) => protocol.trim() === TTYD_PROTOCOL)
  )
}

/** The session that the gateway names; undefined when it names none. An end that is no number has passed. */
function ownerIn({ headers }: IncomingMessage): TerminalOwner | undefined {
  const field = (name: string) => {
    const value = headers[name.toLowerCase()]
    return typeof value === 'string' ? value : undefined
  }
  const [sid, sub] = [field(SESSION_HEADERS.id), field(SESSION_HEADERS.user)]
  if (sid === undefined || sub === undefined) return undefined
  const ends = Number(field(SESSION_HEADERS.ends) ?? 'Infinity')
  return { sid, sub, ends: Number.isNaN(ends) ? 0 : ends, mark: field(SESSION_HEADERS.mark) }
}

const OWN_HEADERS = new Set(Object.values(SESSION_HEADERS).map((name) => name.toLowerCase()))

/** The fields of a client's handshake that belong to its connection (RFC 9110 section 7.6.1), or to a body that it must not have. */
const OF_CONNECTION =
  /^(?:connection|upgrade|keep-alive|te|trailer|transfer-encoding|content-length|expect|sec-websocket-.*)$/

/** The client's headers for ttyd, without those that the keeper makes itself. */
function headersFor({ headers }: IncomingMessage): Record<string, string | string[]> {
  const kept: Record<string, string | string[]> = {}
  for (const [name, value] of Object.entries(headers))
    if (value !== undefined && !OWN_HEADERS.has(name) && !OF_CONNECTION.test(name))
      kept[name] = value
  return kept
}

function refuse(socket: Duplex, status: number, headers: Record<string, string> = {}): void {
  const lines = Object.entries({ ...headers, Connection: 'close', 'Content-Length': '0' })
    .map(([name, value]) => `${name}: ${value}\r\n`)
    .join('')
  socket.end(`HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\n${lines}\r\n`)
}

/** Passes on the answer by which ttyd refused a handshake. */
function passRefusal(answer: IncomingMessage, socket: Duplex): void {
  let head = `HTTP/1.1 ${answer.statusCode} ${answer.statusMessage}\r\n`
  for (let i = 0; i < answer.rawHeaders.length; i += 2)
    if (!/^(?:connection|transfer-encoding|keep-alive)$/i.test(answer.rawHeaders[i] ?? ''))
      head += `${answer.rawHeaders[i]}: ${answer.rawHeaders[i + 1]}\r\n`
  socket.write(`${head}Connection: close\r\n\r\n`, 'latin1') // as it was read
  socket.once('close', () => answer.destroy())
  answer.on('error', () => socket.destroy())
  answer.pipe(socket)
}
