/** How is the keeper of terminals tested? Between a ttyd whose shells a test plays itself, and a client with ttyd's protocol. */
import { once } from 'node:events'
import { request, type IncomingMessage } from 'node:http'
import { join } from 'node:path'
import type { Test } from 'tap'
import { WebSocket, WebSocketServer } from 'ws'
import { loadTerminalsConfig } from '../../src/config/terminals-settings.ts'
import { openLog } from '../../src/observe/log.ts'
import type { KeeperClock } from '../../src/terminals/keeper/clock.ts'
import {
  startKeeper,
  type KeeperOverrides,
  type RunningKeeper,
} from '../../src/terminals/keeper/server.ts'
import {
  FROM_CLIENT,
  SESSION_HEADERS,
  TERMINAL_HEADER,
  type TerminalEntry,
} from '../../src/terminals/protocol.ts'
import { temporaryFolder } from './process.ts'
import { basic } from './ttyd.ts'
import { startUpstream, type Upstream } from './upstream.ts'
import { eventually } from './waiting.ts'

export const CREDENTIAL = 'user:correct horse'

/** One shell of a {@link ScriptedTtyd}: the test is the shell. */
export interface ScriptedShell {
  readonly socket: WebSocket
  /** The messages that came after the first one, as text. */
  readonly received: string[]
  /** The first message: the token and the size. */
  readonly first: { AuthToken?: string; columns?: number; rows?: number }
  readonly headers: IncomingMessage['headers']
  readonly hasEnded: () => boolean
  /** Prints output. */
  print(text: string | Buffer): void
}

/** A ttyd whose shells print what the test says. */
export interface ScriptedTtyd extends Upstream {
  readonly shells: ScriptedShell[]
  /** Waits for the shell with this number, from 0. */
  shell(number: number): Promise<ScriptedShell>
  /** Changes the password, as a ttyd that was started again has another one. */
  setCredential(credential: string): void
  /** Leaves handshakes without an answer. @returns lets them be answered */
  holdHandshakes(): () => void
}

/** Starts a ttyd that takes {@link CREDENTIAL}. It sends title and preferences as ttyd does. */
export async function startScriptedTtyd(t: Test): Promise<ScriptedTtyd> {
  const sockets = new WebSocketServer({ noServer: true, handleProtocols: () => 'tty' })
  const shells: ScriptedShell[] = []
  let right = CREDENTIAL
  let released = Promise.resolve()
  const upstream = await startUpstream(
    t,
    ({ headers, url }, response) => {
      const isRight = headers.authorization === basic(right)
      if (!isRight) response.writeHead(401, { 'WWW-Authenticate': 'Basic realm="ttyd"' }).end()
      else response.end(`ttyd ${url}`)
    },
    (handshake, socket, head) => {
      if (handshake.headers.authorization !== basic(right)) socket.destroy()
      else
        void released.then(() =>
          sockets.handleUpgrade(handshake, socket, head, (ws) =>
            sockets.emit('connection', ws, handshake),
          ),
        )
    },
  )
  sockets.on('connection', (socket: WebSocket, { headers }: IncomingMessage) => {
    let hasEnded = false
    socket.on('error', () => socket.terminate())
    socket.on('close', () => (hasEnded = true))
    socket.once('message', (data: Buffer) => {
      const first = JSON.parse(data.toString()) as ScriptedShell['first']
      if (first.AuthToken !== tokenOf(right)) {
        socket.close(1008)
        return
      }
      const received: string[] = []
      socket.on('message', (more: Buffer) => received.push(more.toString()))
      socket.send(Buffer.from('1sh (houston)'))
      socket.send(Buffer.from('2{ }'))
      shells.push({
        ...{ socket, received, first, headers },
        hasEnded: () => hasEnded,
        print: (text) => socket.send(Buffer.concat([Buffer.from('0'), Buffer.from(text)])),
      })
    })
  })
  return {
    ...upstream,
    shells,
    setCredential: (credential) => (right = credential),
    holdHandshakes() {
      const { promise, resolve } = Promise.withResolvers<void>()
      released = promise
      return resolve
    },
    async shell(number) {
      await eventually(() => shells.length > number, `shell ${number}`)
      return shells[number] as ScriptedShell
    },
  }
}

/** A keeper for a test. */
export interface TestKeeper extends RunningKeeper {
  /** The socket it listens on. */
  readonly path: string
  /** GATEWAY_TERMINAL_URL */
  readonly url: string
  readonly ask: (method: string, path: string, headers?: object) => Promise<KeeperAnswer>
  readonly list: () => Promise<readonly TerminalEntry[]>
}

/** A response of the keeper. */
export interface KeeperAnswer {
  readonly status: number
  readonly headers: IncomingMessage['headers']
  readonly body: string
}

/** What a test keeper has besides its settings. */
export interface TestKeeperOptions extends KeeperOverrides {
  /** Gets the lines of the log. */
  readonly log?: LogLines
}

/** The lines of a log. */
export class LogLines {
  readonly lines: Record<string, unknown>[] = []

  write(text: string): void {
    this.lines.push(JSON.parse(text) as Record<string, unknown>)
  }

  /** The lines with this message. */
  of(message: string): Record<string, unknown>[] {
    return this.lines.filter(({ msg }) => msg === message)
  }

  /** Why terminals have ended, in that order. */
  endings(): unknown[] {
    return this.of('terminal ended').map(({ reason }) => reason)
  }
}

/** A clock that a test moves. It goes on by itself too, unless a busy machine may take any time for what the test does. */
export class TestClock implements KeeperClock {
  readonly #standsStill: boolean
  #offset = 0

  constructor({ standsStill = false } = {}) {
    this.#standsStill = standsStill
  }

  /** Lets time pass. */
  pass(ms: number): void {
    this.#offset += ms
  }

  readonly elapsed = (): number => this.#offset + (this.#standsStill ? 0 : performance.now())

  readonly wall = (): number => Date.now() + this.#offset
}

/** Starts a keeper in this process. @param settings besides the socket */
export async function startTestKeeper(
  t: Test,
  ttyd: Pick<Upstream, 'url'>,
  settings: Record<string, string> = {},
  { log, ...overrides }: TestKeeperOptions = {},
): Promise<TestKeeper> {
  const path = join(temporaryFolder(t), 'terminals.sock')
  const config = loadTerminalsConfig({
    TERMINALS_SOCKET: path,
    TERMINALS_TTYD_URL: ttyd.url,
    ...settings,
  })
  const { logger } = log === undefined ? openLog('silent') : openLog('info', log)
  const keeper = await startKeeper(config, logger, overrides)
  t.teardown(() => keeper.close())
  const ask: TestKeeper['ask'] = async (method, target, headers = {}) => {
    const asked = request({
      ...{ socketPath: path, method, path: target, agent: false },
      headers: { ...headers },
    })
    asked.end()
    const [answer] = (await once(asked, 'response')) as [IncomingMessage]
    const body = Buffer.concat(await answer.toArray()).toString()
    return { status: answer.statusCode ?? 0, headers: answer.headers, body }
  }
  return {
    terminals: keeper.terminals,
    close: () => keeper.close(),
    path,
    url: `unix:${path}`,
    ask,
    async list() {
      const { body } = await ask('GET', '/_terminals')
      return (JSON.parse(body) as { terminals: TerminalEntry[] }).terminals
    },
  }
}

/** Who opens a terminal, and which. */
export interface OpenOptions {
  readonly tab?: string | undefined
  readonly sid?: string | undefined
  readonly sub?: string
  readonly ends?: number
  /** The password of the handshake, and the token of the first message. */
  readonly credential?: string
  readonly token?: string
  readonly columns?: number
  readonly rows?: number
  /** Parameters of the address besides the tab. */
  readonly query?: string
  /** The first message as text, or `undefined` for a client that sends none. */
  readonly first?: string | Buffer | undefined
  /** Whether the client answers pings, as every browser does. */
  readonly autoPong?: boolean
}

/** A page's connection. */
export interface TestClient {
  readonly socket: WebSocket
  /** How the terminal was given: `new`, `back` or `taken-over`. */
  readonly arrival: string | undefined
  /** The messages so far, as text. */
  readonly messages: string[]
  /** The output so far: the messages that begin with 0. */
  readonly output: () => string
  /** The close code; undefined while the connection is open. */
  readonly closedWith: () => number | undefined
  readonly type: (text: string) => void
}

export const TAB = 'tab-0123456789abcdef'

/** Opens a terminal as the gateway does for ttyd's page, first message included. */
export async function openTerminal(
  t: Test,
  path: string,
  options: OpenOptions = {},
): Promise<TestClient> {
  const {
    tab = TAB,
    sid = 'session-1',
    sub = 'alice',
    ends,
    credential = CREDENTIAL,
    token = tokenOf(credential),
    columns = 80,
    rows = 24,
    query = tab === '' ? '' : `?tab=${tab}`,
    autoPong = true,
  } = options
  const first = 'first' in options ? options.first : firstMessage({ token, columns, rows })
  const named =
    sid === ''
      ? {}
      : {
          [SESSION_HEADERS.id]: sid,
          [SESSION_HEADERS.user]: sub,
          ...(ends === undefined ? {} : { [SESSION_HEADERS.ends]: String(ends) }),
        }
  const socket = new WebSocket(`ws+unix:${path}:/terminal/ws${query}`, 'tty', {
    headers: { Host: 'houston.hubify.com', Authorization: basic(credential), ...named },
    perMessageDeflate: false,
    autoPong,
  })
  return pageOn(t, socket, first)
}

/** The first message of ttyd's page. */
export function firstMessage({
  token = tokenOf(CREDENTIAL),
  columns = 80,
  rows = 24,
} = {}): string {
  return JSON.stringify({ AuthToken: token, columns, rows })
}

/**
 * Waits until a WebSocket is open, and says the first message of ttyd's page. Rejects when the handshake is refused.
 * @param first undefined to say nothing
 */
export async function pageOn(
  t: Test,
  socket: WebSocket,
  first: string | Buffer | undefined,
): Promise<TestClient> {
  t.teardown(() => socket.terminate())
  const messages: string[] = []
  let closedWith: number | undefined
  let arrival: string | undefined
  socket.on('upgrade', ({ headers }) => {
    arrival = headers[TERMINAL_HEADER.toLowerCase()]?.toString()
  })
  socket.on('message', (data: Buffer) => messages.push(data.toString()))
  socket.on('close', (code) => (closedWith = code))
  await once(socket, 'open')
  socket.on('error', () => {})
  if (first !== undefined) socket.send(first)
  return {
    socket,
    arrival,
    messages,
    output: () =>
      messages
        .filter((text) => text.startsWith('0'))
        .map((text) => text.slice(1))
        .join(''),
    closedWith: () => closedWith,
    type: (text) => socket.send(`0${text}`),
  }
}

/** The answer to a handshake that is refused. @param headers replace those of ttyd's page @param signal leaves */
export async function refusalOf(
  path: string,
  target: string,
  headers: Record<string, string> = {},
  signal?: AbortSignal,
): Promise<KeeperAnswer | 'cut' | 'accepted'> {
  const asked = request({
    ...{ socketPath: path, path: target, agent: false },
    ...(signal === undefined ? {} : { signal }),
    headers: {
      Host: 'houston.hubify.com',
      Connection: 'Upgrade',
      Upgrade: 'websocket',
      'Sec-WebSocket-Version': '13',
      'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ==',
      'Sec-WebSocket-Protocol': 'tty',
      Authorization: basic(CREDENTIAL),
      [SESSION_HEADERS.id]: 'session-1',
      [SESSION_HEADERS.user]: 'alice',
      ...headers,
    },
  })
  const { promise, resolve } = Promise.withResolvers<KeeperAnswer | 'cut' | 'accepted'>()
  asked.on('error', () => resolve('cut'))
  asked.on('upgrade', (_answer, socket) => {
    socket.destroy()
    resolve('accepted')
  })
  asked.on('response', (answer) => {
    answer.setEncoding('utf8')
    let body = ''
    answer.on('data', (text: string) => (body += text))
    answer.on('close', () =>
      resolve({ status: answer.statusCode ?? 0, headers: answer.headers, body }),
    )
  })
  asked.end()
  return promise
}

/** Opens a terminal, and waits until its shell runs. */
export async function openShell(
  t: Test,
  { path }: TestKeeper,
  ttyd: ScriptedTtyd,
  options: OpenOptions = {},
): Promise<{ client: TestClient; shell: ScriptedShell }> {
  const number = ttyd.shells.length
  const client = await openTerminal(t, path, options)
  const shell = await ttyd.shell(number)
  await eventually(() => client.messages.length >= 2, 'title and preferences')
  return { client, shell }
}

/** Has a page ask for a pause (ttyd's PAUSE), and waits until the keeper has heard of it. */
export async function pause(
  { socket, type }: TestClient,
  { received }: ScriptedShell,
): Promise<void> {
  socket.send(Buffer.of(FROM_CLIENT.pause))
  type('paused')
  await eventually(() => received.includes('0paused'), 'the pause has come')
}

/** Waits until this many terminals are parked. */
export async function areParked({ terminals }: TestKeeper, count = 1): Promise<void> {
  await eventually(() => terminals.counts().parked === count, `${count} parked`)
}

/** Cuts a client's connection off, and waits until its terminal is parked. */
export async function cutOff(keeper: TestKeeper, ...clients: TestClient[]): Promise<void> {
  const { parked } = keeper.terminals.counts()
  for (const { socket } of clients) socket.terminate()
  await areParked(keeper, parked + clients.length)
}

/** The token in a first message of ttyd's page. */
export function tokenOf(credential: string): string {
  return Buffer.from(credential).toString('base64')
}
