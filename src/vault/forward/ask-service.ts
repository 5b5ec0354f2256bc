/** How is a service asked? With a request of node:http or node:https over a connection of the entry, ended with the use. */
import { request as requestHttp, type ClientRequest, type IncomingMessage } from 'node:http'
import { request as requestHttps } from 'node:https'
import type { Duplex } from 'node:stream'
import { TLSSocket } from 'node:tls'
import { codeOf } from '../../answers/errors.ts'
import { resetConnection } from '../../http/reset.ts'
import { newestOf } from '../policy.ts'
import { VaultError } from '../vault-errors.ts'
import type { Route } from './dial.ts'
import type { Parts } from './parts.ts'
import { requestHeaders, type RequestHeaders } from './request-headers.ts'
import { serviceTarget } from './service-target.ts'
import type { RunningUse } from './running-use.ts'

/** The longest head of an answer, in bytes. */
const MAX_HEAD_BYTES = 65_536

/** A connection that was kept may have been closed by the service at this moment; then the request is sent again. */
const MAX_TRIES = 10

/** A service that says more often that its answer is still to come (1xx) is given up: such words can be endless. */
const MAX_INTERIM = 100

const SAFE_METHODS: readonly string[] = ['GET', 'HEAD', 'OPTIONS']

/** What a service answered. */
export interface ServiceAnswer {
  readonly asked: ClientRequest
  readonly answer: IncomingMessage
  /** After 101: the connection, and what came behind the head. */
  readonly switched: { readonly socket: Duplex; readonly head: Buffer } | undefined
}

/**
 * Writes the audit row and asks the service.
 * @param sendBody passes the body on and ends the request; it is called once for each try
 */
export async function askService(
  parts: Parts,
  run: RunningUse,
  request: IncomingMessage,
  sendBody: (asked: ClientRequest) => void,
  isUpgrade = false,
): Promise<ServiceAnswer> {
  const { entry } = run.use
  run.refuseIfEnded()
  refuseUse(run)
  const credential = newestOf(entry).value
  const headers = requestHeaders(entry.policy, request.rawHeaders, credential, isUpgrade)
  const route = parts.dialler.routeTo(run.use)
  await run.begin()
  const mayRepeat =
    SAFE_METHODS.includes(run.method) &&
    headers['content-length'] === undefined &&
    headers['transfer-encoding'] === undefined
  if (!mayRepeat) parts.dialler.dropStale(route)
  for (let tries = 1; ; tries++) {
    const asked = open(route, run, headers)
    try {
      return await answerOf(asked, parts, run, sendBody)
    } catch (error) {
      asked.destroy()
      const isStale = asked.reusedSocket && ['ECONNRESET', 'EPIPE'].includes(codeOf(error))
      if (!isStale || !mayRepeat || tries === MAX_TRIES || run.signal.aborted) throw error
    }
  }
}

/** What the leases have checked is checked again where a mistake would cost the credential. */
function refuseUse({ use, method }: RunningUse): void {
  const { policy } = use.entry
  if (policy.suspended)
    throw new VaultError(
      'suspended',
      `"${policy.service}" is suspended, because the service repeated its credential; the owner ends that with: workspace-gateway vault resume ${policy.service}`,
    )
  // TRACE makes the service repeat the request, and CONNECT a tunnel.
  if (method === 'TRACE' || method === 'CONNECT')
    throw new VaultError('method-not-allowed', `${method} is never forwarded`)
  if (!use.path.startsWith('/'))
    throw new VaultError('bad-target', 'the path does not begin with /')
}

function open(route: Route, run: RunningUse, headers: RequestHeaders): ClientRequest {
  const { isHttps, host, port, agent } = route
  const { path, query, entry } = run.use
  const ask = isHttps ? requestHttps : requestHttp
  const asked = ask({
    ...{
      agent,
      host,
      port,
      headers,
      method: run.method,
      path: serviceTarget(entry.policy, path) + query,
    },
    setHost: false,
    insecureHTTPParser: false,
    maxHeaderSize: MAX_HEAD_BYTES,
  })
  asked.maxHeadersCount = 0 // Node would drop further fields without a word, and Content-Encoding may be one of them
  return asked
}

function answerOf(
  asked: ClientRequest,
  { timeouts }: Parts,
  run: RunningUse,
  sendBody: (asked: ClientRequest) => void,
): Promise<ServiceAnswer> {
  return new Promise((resolve, reject) => {
    run.expect('connection', timeouts.connectMs)
    const abort = () => {
      giveUp(asked)
      reject(run.cause instanceof Error ? run.cause : new Error('ended'))
    }
    run.signal.addEventListener('abort', abort, { once: true })
    asked.on('close', () => run.signal.removeEventListener('abort', abort))
    asked.on('error', reject) // after the answer has come, its own error counts
    asked.once('socket', (socket) => {
      const isTls = socket instanceof TLSSocket
      const isReady = asked.reusedSocket || (!socket.connecting && !isTls)
      const connected = () => run.expect('answer', timeouts.firstByteMs)
      if (isReady) connected()
      else socket.once(isTls ? 'secureConnect' : 'connect', connected)
    })
    let interim = 0
    asked.on('information', () => {
      if (++interim <= MAX_INTERIM) return
      reject(
        new VaultError(
          'answer-malformed',
          `the service put its answer off more than ${MAX_INTERIM} times`,
        ),
      )
      asked.destroy()
    })
    asked.once('response', (answer) => {
      // Node takes 101 without Upgrade for a whole answer. The agent would take what follows for another protocol, or for its answer.
      const { statusCode: status = 0 } = answer
      if (status < 200)
        reject(new VaultError('answer-malformed', `the status ${status} ends no answer`))
      else resolve({ asked, answer, switched: undefined })
    })
    asked.once('upgrade', (answer, socket, head) => {
      // Whoever waits for a plain answer destroys the connection, see `forward`.
      socket.on('error', () => socket.destroy())
      resolve({ asked, answer, switched: { socket, head } })
    })
    sendBody(asked)
  })
}

/**
 * Gives a request to a service up. When its body has not left whole, the connection is reset, because the end of a connection is also how
 * a body can end. (A connection with TLS cannot be reset; there, the missing close_notify tells.)
 */
export function giveUp(asked: ClientRequest): void {
  const { socket } = asked
  if (socket !== null && !asked.writableFinished) resetConnection(socket)
  asked.destroy()
}
