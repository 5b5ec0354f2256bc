/** What does a service or the gateway answer to one GET? Its response within a time limit, or the reason that there is none. */
import { request, type IncomingHttpHeaders } from 'node:http'
import { codeOf } from '../../answers/errors.ts'

/** Where to connect: a host and a port, or a Unix socket. */
export interface Address {
  /** In the form of URLs: an IPv6 literal has brackets. */
  readonly hostname: string
  readonly port: number | undefined
  readonly socketPath: string | undefined
}

/** The request to send. */
export interface Question {
  readonly path: string
  /** Names and values in turn. `Host` is among them. */
  readonly headers: readonly string[]
  /** The time limit for the whole response, in milliseconds. */
  readonly timeoutMs?: number
  /** The local address to connect from. */
  readonly from?: string
}

/** A response. */
export interface Answer {
  readonly kind: 'answer'
  readonly status: number
  readonly headers: IncomingHttpHeaders
  /** The first 16 KiB of the body. */
  readonly body: string
  readonly ms: number
}

/** No response, and the reason in words. */
export interface NoAnswer {
  readonly kind: 'none'
  readonly why: string
}

/** The default time limit for a response, in milliseconds. */
export const TIMEOUT_MS = 2000

/** How much of a body is read: enough to recognise an error. ttyd's page alone has 600 kB. */
const MAX_BODY_BYTES = 16 * 1024

/** Sends one GET on a connection of its own. Never rejects. */
export function ask(address: Address, question: Question): Promise<Answer | NoAnswer> {
  const { path, headers, timeoutMs = TIMEOUT_MS, from } = question
  const { hostname, port, socketPath } = address
  const startedAt = performance.now()
  const { promise, resolve } = Promise.withResolvers<Answer | NoAnswer>()
  const outgoing = request(
    {
      ...(socketPath === undefined
        ? { host: hostname.replace(/^\[(.*)\]$/, '$1'), port }
        : { socketPath }),
      ...(from === undefined ? {} : { localAddress: from }),
      path,
      headers: [...headers, 'Connection', 'close'],
      setHost: false,
      agent: false,
      signal: AbortSignal.timeout(timeoutMs),
    },
    (incoming) => {
      let body = ''
      const finish = () => {
        resolve({
          kind: 'answer',
          status: incoming.statusCode ?? 0,
          headers: incoming.headers,
          body,
          ms: Math.round(performance.now() - startedAt),
        })
        incoming.destroy()
      }
      incoming.setEncoding('utf8')
      incoming.on('data', (chunk: string) => {
        body = (body + chunk).slice(0, MAX_BODY_BYTES)
        if (body.length === MAX_BODY_BYTES) finish()
      })
      incoming.on('end', finish)
      incoming.on('error', finish) // the bytes so far are a response
    },
  )
  outgoing.on('error', (error) => resolve({ kind: 'none', why: whyNot(error, timeoutMs) }))
  outgoing.end()
  return promise
}

/** The reason for no response, in words that name no secret. */
function whyNot(error: Error, timeoutMs: number): string {
  const code = codeOf(error)
  if (error.name === 'AbortError' || error.name === 'TimeoutError')
    return `no answer within ${timeoutMs / 1000} s`
  if (code === 'ECONNREFUSED') return 'nothing listens there (ECONNREFUSED)'
  if (code === 'ENOENT') return 'there is no such socket (ENOENT)'
  if (code === 'ECONNRESET') return 'the connection was closed without an answer (ECONNRESET)'
  if (code.startsWith('HPE_')) return `what listens there does not speak HTTP (${code})`
  return `no connection (${code === '' ? error.name : code})`
}
