/** How does the gateway live? It opens its log and state, listens, re-reads secrets, and stops without losing a request. */
import { once } from 'node:events'
import { chmodSync, rmSync, statSync } from 'node:fs'
import { ServerResponse } from 'node:http'
import { Server as TcpServer, type Socket } from 'node:net'
import type { FastifyInstance } from 'fastify'
import { SlidingWindowLimiter } from '../limits/budget.ts'
import { ALIVE_MS, canConnect } from '../services/can-connect.ts'
import type { Config } from '../config/load.ts'
import { configWarnings } from '../config/rules.ts'
import { codeOf } from '../answers/errors.ts'
import { buildGateway } from '../gateway.ts'
import { openLog, type LogDestination } from '../observe/log.ts'
import { startOperations } from '../admin/operations.ts'
import { setOpenclawToken } from '../services/service.ts'
import { SESSION_ENDED } from '../sockets/open-sockets.ts'
import { openStateDir, restoreBudgets, saveBudgets } from '../store/budgets.ts'
import { buildTokenVerifier, type KeyRing } from '../identity/token.ts'
import { notifyReady, notifyStopping } from './notify.ts'
import { VERSION } from '../answers/version.ts'

/** How many client addresses have a budget of their own. */
const ADDRESS_CAPACITY = 100_000

/** How many sessions have a budget of their own; each needs a token that we signed. */
const SESSION_CAPACITY = 10_000

/** A connection that has sent nothing for so long was opened ahead, and no request is on its way (milliseconds). */
const SILENT_MS = 250

/** How often the end of requests in flight is looked for while draining, in milliseconds. */
const DRAIN_STEP_MS = 50

/** What may differ from the defaults. */
export interface ServerOptions {
  /** Where log lines go; standard output when not given. */
  readonly logDestination?: LogDestination
  /** systemd's `NOTIFY_SOCKET`: where a supervisor hears that the gateway is ready. */
  readonly notifySocket?: string | undefined
  /** The number of a listening socket that was handed down to this process; used instead of the configured address. */
  readonly listenFd?: number | undefined
  /** Whether this gateway takes over from one that still listens: the port is shared, the admin door changes hands. */
  readonly takesOver?: boolean
  /** Whether the file of `GATEWAY_SOCKET` belongs to whoever keeps the port, and stays when this gateway ends. */
  readonly keepsSocketFile?: boolean
}

/** A gateway that listens. */
export interface RunningGateway {
  /** Where it listens; port 0 and an empty host for a Unix socket. */
  readonly address: { readonly host: string; readonly port: number }
  /** Puts new signing keys in force; what the old ones opened ends. */
  setKeys(keys: KeyRing): void
  /** Sends another token to OpenClaw from now on, or none. */
  setOpenclawToken(token: string | undefined): void
  /** Writes to the log. */
  readonly app: FastifyInstance
  /** Stops: requests in flight get the drain time, WebSockets a close frame; budgets are saved, the log is flushed. */
  close(): Promise<void>
  /**
   * Stops after a successor has taken over: as {@link close}, but connections that people keep open are answered once
   * more before they end, so that not even a request that is on its way just now is lost.
   * @param onBudgetsSaved is called when the successor can take the budgets, and later once more by the end of the promise
   */
  retire(onBudgetsSaved: () => void): Promise<void>
  /** Saves the budgets for a successor. */
  saveBudgets(): void
  /** Takes what a predecessor has saved since the last time. */
  takeBudgets(): void
}

/** The keys of a configuration, the signing one first. */
export function keyRing({
  jwtSecret,
  jwtPreviousSecrets,
}: Pick<Config, 'jwtSecret' | 'jwtPreviousSecrets'>): KeyRing {
  return [jwtSecret, ...jwtPreviousSecrets]
}

/**
 * Starts the gateway.
 * @throws an error whose `code` is `EADDRINUSE` or `EACCES` when the address cannot be had
 */
export async function startGateway(
  config: Config,
  {
    logDestination,
    notifySocket,
    listenFd,
    takesOver = false,
    keepsSocketFile = false,
  }: ServerOptions = {},
): Promise<RunningGateway> {
  const log = openLog(config.logLevel, logDestination)
  const { logger } = log
  const rules = {
    workspace: config.workspace,
    issuer: config.jwtIssuer,
    leewaySeconds: config.jwtLeewaySeconds,
  }
  const verifier = buildTokenVerifier(rules, keyRing(config))
  const addresses = new SlidingWindowLimiter({
    limit: config.rateLimit,
    windowSeconds: config.rateLimitSeconds,
    capacity: ADDRESS_CAPACITY,
  })
  const sessions = new SlidingWindowLimiter({
    limit: config.sessionRateLimit,
    windowSeconds: config.rateLimitSeconds,
    capacity: SESSION_CAPACITY,
  })
  const budgets = { addresses, sessions }
  const app = await buildGateway(config, { log, verifier, addresses, sessions })
  const connections = trackConnections(app)
  try {
    await listen(app, config, listenFd)
  } catch (error) {
    await app.close()
    throw error
  }
  const hasState = openStateDir(config.stateDir, logger)
  if (hasState) restoreBudgets(config.stateDir, budgets, logger)
  for (const warning of configWarnings(config)) logger.warn(warning)
  const bound = app.server.address()
  const address =
    typeof bound === 'object' && bound !== null
      ? { host: bound.address, port: bound.port }
      : { host: '', port: 0 }
  logger.info(
    {
      version: VERSION,
      ...address,
      socket: config.socket,
      workspace: config.workspace,
      pid: process.pid,
    },
    'listening',
  )
  const operations = await startOperations(app, config, { logger, takesOver, hasState })
  const supervisor = { fd: config.notifyFd, socket: notifySocket, logger }
  void notifyReady(supervisor)

  let closing: Promise<void> | undefined
  return {
    address,
    app,
    setKeys(keys) {
      verifier.setKeys(keys)
      app.openSockets.close(SESSION_ENDED, ({ principal }) => !verifier.hasKey(principal.keyId))
      app.basicMemory.forget(({ keyId }) => !verifier.hasKey(keyId))
      logger.info({ keys: keys.length }, 'keys replaced')
    },
    setOpenclawToken(token) {
      setOpenclawToken(app.services, token)
    },
    saveBudgets: save,
    takeBudgets() {
      if (hasState) restoreBudgets(config.stateDir, budgets, logger)
    },
    close() {
      closing ??= stop(() => drainRequests(app, connections, config.drainSeconds * 1000))
      return closing
    },
    retire(onBudgetsSaved) {
      closing ??= stop(async () => {
        const drained = drainReplaced(app, connections, config.drainSeconds * 1000)
        save()
        onBudgetsSaved()
        await drained
      })
      return closing
    },
  }

  function save(): void {
    if (hasState) saveBudgets(config.stateDir, budgets, logger)
  }

  async function stop(drain: () => Promise<void>): Promise<void> {
    logger.info({ openSockets: app.openSockets.size, seconds: config.drainSeconds }, 'draining')
    void notifyStopping(supervisor)
    await drain()
    save()
    await app.close()
    await operations.close()
    if (config.socket !== undefined && !keepsSocketFile) rmSync(config.socket, { force: true })
    logger.info('stopped')
    await log.flush()
  }
}

/** Every connection that is open, those that Node has let go of after an upgrade too, and since when. */
type Connections = ReadonlyMap<Socket, number>

function trackConnections(app: FastifyInstance): Connections {
  const connections = new Map<Socket, number>()
  app.server.on('connection', (socket: Socket) => {
    connections.set(socket, performance.now())
    socket.once('close', () => connections.delete(socket))
  })
  return connections
}

async function listen(
  app: FastifyInstance,
  { host, port, socket }: Config,
  fd: number | undefined,
): Promise<void> {
  if (fd !== undefined) {
    await app.ready()
    app.server.listen({ fd })
    await once(app.server, 'listening')
    return
  }
  if (socket === undefined) {
    try {
      await app.listen({ host, port })
    } catch (error) {
      // A machine without IPv6 has no `::`; what it stands for here is every address there is.
      if (host !== '::' || codeOf(error) !== 'EAFNOSUPPORT') throw error
      await app.listen({ host: '0.0.0.0', port })
    }
    return
  }
  await removeStaleSocket(socket)
  const umask = process.umask(0o177)
  try {
    await app.listen({ path: socket })
    chmodSync(socket, 0o600)
  } finally {
    process.umask(umask)
  }
}

/** A socket file that nobody listens on any more stands in the way of listening. */
async function removeStaleSocket(path: string): Promise<void> {
  try {
    if (!statSync(path).isSocket()) return // listening will say that the path is taken
  } catch {
    return
  }
  if (!(await canConnect({ path }, ALIVE_MS))) rmSync(path, { force: true })
}

/** Stops accepting, tells WebSockets to come back, and lets requests finish until the deadline; then everything is cut. */
async function drainRequests(
  app: FastifyInstance,
  connections: Connections,
  drainMs: number,
): Promise<void> {
  const { server } = app
  const deadline = performance.now() + drainMs
  app.beginDrain()
  let isClosed = false
  // http.Server's own close would cut connections that it takes for idle, as below.
  TcpServer.prototype.close.call(server, () => {
    isClosed = true
  })
  while (performance.now() < deadline) {
    if (![...connections.keys()].some(isFlushing)) server.closeIdleConnections()
    // To Node a connection that has not sent anything yet is not idle; browsers open such ones ahead.
    const youngest = performance.now() - SILENT_MS
    for (const [connection, since] of connections)
      if (connection.bytesRead === 0 && since < youngest) connection.destroy()
    if (isClosed && app.openSockets.size === 0) return
    await pause(DRAIN_STEP_MS)
  }
  for (const connection of connections.keys()) connection.destroy()
  app.openSockets.destroyAll()
}

/** Whether an answer has ended that its client has not been sent all of: Node takes such a connection for idle. */
function isFlushing(connection: Socket): boolean {
  const answer: unknown = Reflect.get(connection, '_httpMessage')
  return answer instanceof ServerResponse && answer.writableEnded && !answer.writableFinished
}

/**
 * The same with a successor that listens on the same port. Nothing is in a hurry: a connection that is idle, or young,
 * may have a request on its way, which is answered, and told to be the last.
 */
async function drainReplaced(
  app: FastifyInstance,
  connections: Connections,
  drainMs: number,
): Promise<void> {
  const deadline = performance.now() + drainMs
  app.beginDrain(true)
  // http.Server's own close would end idle connections at once, with what is on its way to us.
  TcpServer.prototype.close.call(app.server)
  while (connections.size > 0 && performance.now() < deadline) await pause(DRAIN_STEP_MS)
  for (const connection of connections.keys()) connection.destroy()
  app.openSockets.destroyAll()
}

function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, milliseconds)
  })
}
