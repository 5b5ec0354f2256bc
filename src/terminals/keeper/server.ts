/**
 * What does the keeper of terminals answer on its socket? Whoever can open it is the gateway, or root. A handshake gets the
 * terminal of its tab, or a new shell; requests to `/_terminals` list and end terminals; everything else is ttyd's.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { Logger } from 'pino'
import type { TerminalsConfig } from '../../config/terminals-settings.ts'
import { openSocketFile } from '../../services/socket-file.ts'
import { MACHINE_CLOCK, type KeeperClock } from './clock.ts'
import type { Handshakes, HandshakeTimes } from './handshakes.ts'
import { manage } from './management.ts'
import { addressWithTab, passToTtyd } from './plain-requests.ts'
import { BOUNDS, Terminals, type TerminalBounds } from './terminals.ts'

/** How often time limits are checked, in milliseconds: the end of a session must reach the shell within two seconds. */
const CHECK_MS = 500

/** How long clients may take to answer a close frame when the keeper stops, in milliseconds. */
const FAREWELL_MS = 1000

/** A running keeper. */
export interface RunningKeeper {
  readonly terminals: Terminals
  /** Ends every terminal, tells the clients, and stops listening. Takes a second at most. */
  close(): Promise<void>
}

/** What a test may replace. */
export interface KeeperOverrides {
  readonly clock?: KeeperClock
  readonly bounds?: TerminalBounds
  readonly times?: HandshakeTimes
}

/** Starts the keeper. @throws an error with a code such as `EADDRINUSE` when it cannot listen */
export async function startKeeper(
  config: TerminalsConfig,
  logger: Logger,
  overrides: KeeperOverrides = {},
): Promise<RunningKeeper> {
  const keeper = new Keeper(config, logger, overrides)
  await keeper.listen()
  return keeper
}

class Keeper implements RunningKeeper {
  readonly terminals: Terminals
  readonly #config: TerminalsConfig
  readonly #logger: Logger
  readonly #startedAt: number
  readonly #clock: KeeperClock
  readonly #times: HandshakeTimes | undefined
  #handshakes: Promise<Handshakes> | undefined
  readonly #server: Server
  readonly #connections = new Set<Socket>()
  #timer: NodeJS.Timeout | undefined
  #closed: Promise<void> | undefined

  constructor(config: TerminalsConfig, logger: Logger, overrides: KeeperOverrides) {
    const { clock = MACHINE_CLOCK, bounds = BOUNDS } = overrides
    this.terminals = new Terminals(bounds)
    this.#config = config
    this.#logger = logger
    this.#startedAt = clock.wall()
    this.#clock = clock
    this.#times = overrides.times
    this.#server = createServer((request, response) => {
      try {
        this.#answer(request, response)
      } catch (error) {
        logger.error({ err: error }, 'a request failed')
        request.destroy()
      }
    })
    this.#server.on('upgrade', (request, socket, head) => {
      void this.#upgrade(request, socket, head)
    })
    this.#server.on('clientError', (_error, socket) => socket.destroy())
    this.#server.on('connection', (socket: Socket) => {
      this.#connections.add(socket)
      socket.once('close', () => this.#connections.delete(socket))
    })
  }

  async listen(): Promise<void> {
    await openSocketFile(this.#config.socket, async () => {
      const { promise, resolve, reject } = Promise.withResolvers<void>()
      this.#server.once('error', reject)
      this.#server.listen({ path: this.#config.socket, exclusive: true }, resolve)
      await promise
      this.#server.off('error', reject)
    })
    // A connection that cannot be accepted, for want of file descriptors for instance, is lost; the others are not.
    this.#server.on('error', (error) =>
      this.#logger.error({ err: error }, 'no connection accepted'),
    )
    this.#timer = setInterval(() => this.terminals.check(), CHECK_MS)
  }

  close(): Promise<void> {
    this.#closed ??= this.#close()
    return this.#closed
  }

  async #close(): Promise<void> {
    clearInterval(this.#timer)
    this.terminals.close()
    const timer = setTimeout(() => {
      for (const connection of this.#connections) connection.destroy()
    }, FAREWELL_MS)
    await new Promise<void>((resolve) => {
      this.#server.close(() => resolve())
      this.#server.closeIdleConnections()
    })
    clearTimeout(timer)
  }

  async #upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    socket.on('error', () => socket.destroy())
    try {
      this.#handshakes ??= this.#loadHandshakes()
      await (await this.#handshakes).answer(request, socket, head)
    } catch (error) {
      this.#logger.error({ err: error }, 'a handshake failed')
      socket.destroy()
    }
  }

  /** They come with the first one: WebSockets, TLS and what else is loaded with them take 10 MiB, which a keeper at rest does not need. */
  async #loadHandshakes(): Promise<Handshakes> {
    const { Handshakes } = await import('./handshakes.ts')
    return new Handshakes({
      ...{ config: this.#config, terminals: this.terminals, logger: this.#logger },
      ...{ clock: this.#clock, times: this.#times },
    })
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    response.on('error', () => response.destroy())
    const { terminals } = this
    if (manage({ terminals, startedAt: this.#startedAt }, request, response)) return
    const location = addressWithTab(request)
    if (location === undefined) passToTtyd(this.#config.ttydUrl, request, response)
    else
      response
        .writeHead(302, { Location: location, 'Cache-Control': 'no-store', 'Content-Length': 0 })
        .end()
  }
}
