/** At the gateway's door: the same request over plain HTTP and as an upgrade, and what every refusal looks like. */
import type { Test } from 'tap'
import { ERRORS, type ErrorCode } from '../../src/answers/errors.ts'
import type { startWorkspace } from './gateway.ts'
import { exchange, handshake, parseAnswer, send, upgrade, type RawAnswer } from './wire.ts'

/** A gateway with its four services. */
export type Workspace = Awaited<ReturnType<typeof startWorkspace>>

/** The two ways in. A table of refusals runs over both. */
export const DOORS = ['request', 'upgrade'] as const
export type Door = (typeof DOORS)[number]

/** The origin of the test workspace, for a client that came by https. */
export const ORIGIN = 'https://houston.hubify.com'

/** Caddy's field for a client that came by https. */
export const HTTPS = 'X-Forwarded-Proto: https'

/** The field with which a trusted proxy names the client. */
export const client = (address: string) => `X-Forwarded-For: ${address}`

/** The session cookie of a client that came by https. */
export const cookie = (token: string) => `Cookie: __Host-workspace_session=${token}`

/** The fields that a browser sends when a person opens an address. */
export const NAVIGATION = [
  'Sec-Fetch-Mode: navigate',
  'Sec-Fetch-Dest: document',
  'Accept: text/html',
]

/** Knocks once, with a GET. An upgrade that was accepted is ended again. */
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

/** Knocks once with a request line of one's own, so that other methods and versions can be tried as upgrades too. */
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

/** What a refusal must be. */
export interface Refusal {
  readonly code: ErrorCode
  /** The stage that the log names. */
  readonly stage: string
  /** Connections that the services had accepted before; nothing may be added. */
  readonly dials?: number
  /** Whether a person is looking, who gets a page. */
  readonly page?: boolean
}

/** Asserts that the gateway itself refused, said so in its own form and in the log, and dialled nobody. */
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

/** A raw header list as lower-case names and values, without what belongs to the hop. */
export function pairs(rawHeaders: readonly string[]): string[] {
  const lines: string[] = []
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = (rawHeaders[i] ?? '').toLowerCase()
    if (name !== 'connection') lines.push(`${name}: ${rawHeaders[i + 1]}`)
  }
  return lines.toSorted()
}
