/**
 * What does the keeper of terminals answer on its socket? Whoever can open it is the gateway, or root. A handshake gets the
 * terminal of its tab, or a new shell; requests to `/_terminals` list and end terminals; everything else is ttyd's.
 */
import { chmodSync } from 'node:fs'
import {
  createServer,
  STATUS_CODES,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from 'node:http'
import type { Duplex } from 'node:stream'
import type { Logger } from 'pino'
import { WebSocketServer, type WebSocket } from 'ws'
import { VERSION } from '../../answers/version.ts'
import type { TerminalsConfig } from '../../config/terminals-settings.ts'
import {
  KEPT_HEADER,
  PROTOCOL,
  READY_PATH,
  REFUSAL_HEADER,
  SESSION_HEADERS,
  TAB_ID,
  TERMINAL_HEADER,
  TERMINALS_PATH,
  TTYD_PROTOCOL,
  type Arrival,
  type KeeperReady,
  type TerminalList,
} from '../protocol.ts'
import { ClientLink } from './client-link.ts'
import { SecretDigest } from './digest.ts'
import { addressWithTab, passToTtyd, tabOf } from './plain-requests.ts'
import { loadScreens } from './screen.ts'
import { firstMessageIn, KeptTerminal, type TerminalOwner } from './terminal.ts'
import { Terminals } from './terminals.ts'
import { openTtyd } from './ttyd-link.ts'

/** The largest message of a client, in bytes: more than any paste. */
const MAX_MESSAGE_BYTES = 32 * 1024 * 1024

/** How long a client that came back may take to say its token, in milliseconds. */
const FIRST_MESSAGE_MS = 10_000

/** How often time limits are checked, in milliseconds: the end of a session must reach the shell within two seconds. */
const CHECK_MS = 500

/** A running keeper. */
export interface RunningKeeper {
  readonly terminals: Terminals
  /** Ends every terminal and stops listening. */
  close(): Promise<void>
}

/** Starts the keeper. @throws an error with a code such as `EADDRINUSE` when it cannot listen */
export async function startKeeper(config: TerminalsConfig, logger: Logger): Promise<RunningKeeper> {
  const keeper = new Keeper(config, logger)
  await keeper.listen()
  return keeper
}

class Keeper implements RunningKeeper {
  readonly terminals = new Terminals()
  readonly #config: TerminalsConfig
  readonly #logger: Logger
  readonly #startedAt = Date.now()
  readonly #server: Server
  readonly #sockets = new WebSocketServer({
    noServer: true,
    clientTracking: false,
    handleProtocols: () => TTYD_PROTOCOL,
    maxPayload: MAX_MESSAGE_BYTES,
    perMessageDeflate: false,
    skipUTF8Validation: true,
  })
  #timer: NodeJS.Timeout | undefined

  constructor(config: TerminalsConfig, logger: Logger) {
    this.#config = config
    this.#logger = logger
    this.#server = createServer((request, response) => this.#answer(request, response))
    this.#server.on('upgrade', (request, socket, head) => void this.#upgrade(request, socket, head))
    this.#server.on('clientError', (_error, socket) => socket.destroy())
  }

  async listen(): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const { socket } = this.#config
    this.#server.once('error', reject)
    const umask = process.umask(0o177)
    try {
      this.#server.listen({ path: socket, exclusive: true }, resolve)
    } finally {
      process.umask(umask)
    }
    await promise
    this.#server.off('error', reject)
    chmodSync(socket, 0o600)
    this.#timer = setInterval(() => this.terminals.check(), CHECK_MS)
  }

  async close(): Promise<void> {
    clearInterval(this.#timer)
    this.terminals.endAll()
    await new Promise<void>((resolve) => {
      this.#server.close(() => resolve())
      this.#server.closeIdleConnections()
    })
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    response.on('error', () => response.destroy())
    const url = new URL(`http://keeper${request.url ?? '/'}`)
    if (url.pathname === READY_PATH) this.#json(response, this.#ready())
    else if (url.pathname.split('/')[1] === TERMINALS_PATH.slice(1))
      this.#manage(request, response, url)
    else {
      const location = addressWithTab(request)
      if (location === undefined) passToTtyd(this.#config.ttydUrl, request, response)
      else
        response
          .writeHead(302, { Location: location, 'Cache-Control': 'no-store', 'Content-Length': 0 })
          .end()
    }
  }

  #ready(): KeeperReady {
    const counts = this.terminals.counts()
    return { protocol: PROTOCOL, version: VERSION, startedAt: this.#startedAt, ...counts }
  }

  #manage(request: IncomingMessage, response: ServerResponse, url: URL): void {
    const id = url.pathname.slice(TERMINALS_PATH.length + 1)
    const sid = url.searchParams.get('sid') ?? ''
    const ends = Number(url.searchParams.get('ends') ?? 'Infinity')
    if (request.method === 'GET' && id === '') {
      const list: TerminalList = { terminals: this.terminals.list() }
      this.#json(response, list)
    } else if (request.method === 'DELETE' && id !== '')
      this.#json(response, { ended: this.terminals.end(decodeURIComponent(id)) ? 1 : 0 })
    else if (request.method === 'DELETE' && sid !== '')
      this.#json(response, { ended: this.terminals.endSession(sid) })
    else if (request.method === 'PUT' && sid !== '' && ends > 0)
      this.#json(response, { renewed: this.terminals.renewSession(sid, ends) })
    else this.#json(response, { problem: 'no such action' }, 400)
  }

  #json(response: ServerResponse, body: object, status = 200): void {
    const text = JSON.stringify(body)
    response
      .writeHead(status, {
        'Content-Type': 'application/json',
        'Content-Length': Buffer.byteLength(text),
        'Cache-Control': 'no-store',
      })
      .end(text)
  }

  async #upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    socket.on('error', () => socket.destroy())
    try {
      await loadScreens()
      const owner = ownerIn(request)
      const asked = tabOf(request.url ?? '')
      const tab =
        owner !== undefined && asked !== undefined && TAB_ID.test(asked) ? asked : undefined
      const known =
        owner === undefined || tab === undefined ? undefined : this.terminals.find(owner, tab)
      if (known?.password.matches(passwordIn(request))) this.#comeBack(known, request, socket, head)
      else await this.#open({ owner, tab, request, socket, head })
    } catch (error) {
      this.#logger.error({ err: error }, 'a handshake failed')
      socket.destroy()
    }
  }

  /** Opens a new shell, if ttyd agrees. */
  async #open(asked: {
    owner: TerminalOwner | undefined
    tab: string | undefined
    request: IncomingMessage
    socket: Duplex
    head: Buffer
  }): Promise<void> {
    const { owner, tab, request, socket, head } = asked
    const release = this.terminals.reserve(owner?.sid)
    if (release === undefined) {
      refuse(socket, 503, { [REFUSAL_HEADER]: 'too-many-terminals' })
      return
    }
    const gone = new AbortController()
    const onGone = () => gone.abort()
    socket.once('close', onGone)
    try {
      const { ttydUrl, scrollback, parkSeconds, parkClosedSeconds } = this.#config
      const answer = await openTtyd(ttydUrl, request.url ?? '', headersFor(request), gone.signal)
      if (answer.kind === 'failed') socket.destroy()
      else if (answer.kind === 'refused') passRefusal(answer.answer, socket)
      else if (socket.destroyed) answer.link.close()
      else {
        socket.off('close', onGone)
        this.#accept(request, socket, head, { arrival: 'new', isKept: tab !== undefined }, (ws) => {
          const terminal = new KeptTerminal({
            ...{ owner, tab, scrollback },
            ttyd: answer.link,
            parkTimes: { lostMs: parkSeconds * 1000, closedMs: parkClosedSeconds * 1000 },
            password: new SecretDigest(passwordIn(request)),
            onEnd: (ended) => this.terminals.delete(ended),
          })
          this.terminals.add(terminal)
          terminal.begin(new ClientLink(ws))
        })
      }
    } finally {
      release()
    }
  }

  /** Gives a terminal to the client that came back, once it has said the token that ttyd accepted before. */
  #comeBack(terminal: KeptTerminal, request: IncomingMessage, socket: Duplex, head: Buffer): void {
    const arrival = terminal.state === 'attached' ? 'taken-over' : 'back'
    this.#accept(request, socket, head, { arrival, isKept: true }, (ws) => {
      const link = new ClientLink(ws)
      const timer = setTimeout(() => ws.terminate(), FIRST_MESSAGE_MS)
      link.listen({
        onProgress() {},
        onEnd: () => clearTimeout(timer),
        onMessage(message) {
          clearTimeout(timer)
          const first = firstMessageIn(message)
          if (first === undefined || terminal.authToken?.matches(first.authToken) !== true)
            link.close(1008, 'not authenticated')
          else terminal.attach(link, first)
        },
      })
    })
  }

  #accept(
    request: IncomingMessage,
    socket: Duplex,
    head: Buffer,
    { arrival, isKept }: { readonly arrival: Arrival; readonly isKept: boolean },
    take: (ws: WebSocket) => void,
  ): void {
    const { id } =
      ownerIn(request) === undefined ? { id: undefined } : { id: ownerIn(request)?.sid }
    this.#logger.info({ sid: id, arrival }, 'terminal opened')
    const { parkSeconds } = this.#config
    this.#sockets.once('headers', (headers) => {
      headers.push(`${TERMINAL_HEADER}: ${arrival}`)
      if (isKept && parkSeconds > 0) headers.push(`${KEPT_HEADER}: ${parkSeconds}`)
    })
    this.#sockets.handleUpgrade(request, socket, head, take)
  }
}

/** The session that the gateway names; undefined when it names none. */
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

function passwordIn({ headers }: IncomingMessage): string {
  return headers.authorization ?? ''
}

const OWN_HEADERS = new Set(Object.values(SESSION_HEADERS).map((name) => name.toLowerCase()))

/** The client's headers for ttyd, without those that the keeper makes itself. */
function headersFor({ headers }: IncomingMessage): Record<string, string | string[]> {
  const kept: Record<string, string | string[]> = {}
  for (const [name, value] of Object.entries(headers)) {
    if (value === undefined || OWN_HEADERS.has(name)) continue
    if (/^(?:connection|upgrade|sec-websocket-.*)$/.test(name)) continue
    kept[name] = value
  }
  return kept
}

function refuse(socket: Duplex, status: number, headers: Record<string, string>): void {
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
  socket.write(`${head}Connection: close\r\n\r\n`)
  answer.on('error', () => socket.destroy())
  answer.pipe(socket)
}
