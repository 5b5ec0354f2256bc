/** How is a refusal tested? The same request is sent over plain HTTP and as an upgrade, and every refusal is checked here. */
import type { Test } from 'tap'
import { ERRORS, type ErrorCode } from '../../src/answers/errors.ts'
import type { startWorkspace } from './gateway.ts'
import { exchange, handshake, parseAnswer, send, upgrade, type RawAnswer } from './wire.ts'

/** A gateway with its four services. */
export type Workspace = Awaited<ReturnType<typeof startWorkspace>>

/** The two kinds of request. A table of refusals runs over both. */
export const DOORS = ['request', 'upgrade'] as const
export type Door = (typeof DOORS)[number]

/** The origin of the test workspace over https. */
export const ORIGIN = 'https://houston.hubify.com'

/** The header with which Caddy reports that the client used https. */
export const HTTPS = 'X-Forwarded-Proto: https'

/** The header with which a trusted proxy reports the client's address. */
export const client = (address: string) => `X-Forwarded-For: ${address}`

/** The session cookie over https. */
export const cookie = (token: string) => `Cookie: __Host-workspace_session=${token}`

/** The headers that a browser sends when the user opens an address by hand, or by a link of another program. */
export const TYPED = [
  'Sec-Fetch-Site: none',
  'Sec-Fetch-Mode: navigate',
  'Sec-Fetch-Dest: document',
]

/** Signs in over https as a program does. @returns the header line with the session's cookie */
export async function signIn(
  port: number,
  token: string,
  more: readonly string[] = [],
): Promise<string> {
  const body = `token=${token}`
  const answer = await send(
    port,
    'POST /_gateway/sign-in',
    [
      ...[HTTPS, 'Content-Type: application/x-www-form-urlencoded'],
      ...[`Content-Length: ${body.length}`, ...more],
    ],
    body,
  )
  const [pair] = (answer.headers['set-cookie'] ?? '').split(';')
  if (answer.status !== 303) throw new Error(`not signed in: ${answer.raw}`)
  return `Cookie: ${pair}`
}

/** Signs a browser in over https. @returns the header lines of its requests from a page of the workspace */
export async function signInPage(port: number, token: string): Promise<string[]> {
  return [await signIn(port, token), HTTPS, `Origin: ${ORIGIN}`]
}

/** The headers that a browser sends when the user opens an address. */
export const NAVIGATION = [
  'Sec-Fetch-Mode: navigate',
  'Sec-Fetch-Dest: document',
  'Accept: text/html',
]

/** Sends one GET. An accepted upgrade is closed again. */
export async function knock(
  port: number,
  door: Door,
  target: string,
  headers: readonly string[] = [],
): Promise<RawAnswer> {
  if (door === 'request') return send(port, `GET ${target}`, headers)
  const { socket, answer, received, closed } = await upgrade(port, target, headers)
  if (answer.status === 101) socket.destroy()
  await closed
  return answer.status === 101 ? answer : { ...answer, body: received().toString('latin1') }
}

/** Sends one request with the given request line, so that other methods and versions can be tested as upgrades too. */
export async function knockWith(
  port: number,
  door: Door,
  requestLine: string,
  headers: readonly string[] = [],
): Promise<RawAnswer> {
  if (door === 'request') return send(port, requestLine, headers)
  const hasHost = headers.some((line) => line.toLowerCase().startsWith('host:'))
  const lines = [
    requestLine,
    ...(hasHost ? [] : ['Host: houston.hubify.com']),
    ...handshake(headers),
  ]
  return parseAnswer(await exchange(port, `${lines.join('\r\n')}\r\n\r\n`))
}

/** The expected refusal. */
export interface Refusal {
  readonly code: ErrorCode
  /** The stage in the log line. */
  readonly stage: string
  /** The connections that the services had accepted before. The refused request must add none. */
  readonly dials?: number
  /** Whether the client is a person's browser, which gets a page. */
  readonly page?: boolean
}

/** Asserts that the gateway refused the request itself, with its own response and log line, and connected to no service. */
export async function assertRefused(
  t: Test,
  workspace: Pick<Workspace, 'logLine' | 'dials'>,
  answer: RawAnswer,
  { code, stage, dials = 0, page = false }: Refusal,
): Promise<Record<string, unknown>> {
  const { status } = ERRORS[code]
  t.equal(answer.status, status, `status is ${status}`)
  t.equal(answer.headers['x-gateway-error'], code, `X-Gateway-Error is ${code}`)
  const type = page ? 'text/html; charset=utf-8' : 'application/problem+json'
  t.equal(answer.headers['content-type'], type)
  t.equal(workspace.dials(), dials, 'no service was dialled')
  const id = answer.headers['x-request-id']
  t.type(id, 'string', 'the answer names its request')
  const line = await workspace.logLine((candidate) => candidate['id'] === id)
  t.match(line, { stage, code, status }, 'the log names the stage')
  return line
}

/** What the dashboard and the terminal are told of alice’s request, which came by https from 203.0.113.9; in order. */
export const toldOf = (requestId: string | undefined) => [
  'x-forwarded-for: 203.0.113.9',
  'x-forwarded-host: houston.hubify.com',
  'x-forwarded-port: 443',
  'x-forwarded-proto: https',
  'x-forwarded-user: alice',
  `x-request-id: ${requestId}`,
  'x-workspace: houston',
]

/** Converts a raw header list to an object with lower-case names, without hop-by-hop headers. */
export function pairs(rawHeaders: readonly string[]): string[] {
  const lines: string[] = []
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = (rawHeaders[i] ?? '').toLowerCase()
    if (name !== 'connection') lines.push(`${name}: ${rawHeaders[i + 1]}`)
  }
  return lines.toSorted()
}
