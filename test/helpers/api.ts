/** How does a test use the owner's JSON API? As a page of the workspace does, or as a program. */
import { randomUUID } from 'node:crypto'
import { SignJWT } from 'jose/jwt/sign'
import type { Test } from 'tap'
import { client, HTTPS, ORIGIN, signIn, type Workspace } from './door.ts'
import { SECRET } from './gateway.ts'
import { send, type RawAnswer } from './wire.ts'

/** The headers with which a browser says that a page of the workspace sends a request. */
export const OWN_PAGE = [HTTPS, `Origin: ${ORIGIN}`]

/** Signs in. @returns the headers of a page of the workspace from then on */
export async function pageOf(
  { port }: Pick<Workspace, 'port'>,
  subject = 'alice',
  { from = '203.0.113.9', ...ticket }: TicketOptions & { readonly from?: string } = {},
): Promise<string[]> {
  const fields = [client(from), 'User-Agent: Firefox']
  return [await signIn(port, await ticketOf(subject, ticket), fields), ...OWN_PAGE, client(from)]
}

/** What the login service says of a sign-in. */
interface TicketOptions {
  readonly minutesAgo?: number
  /** `amr`; left out when undefined */
  readonly methods?: readonly string[]
  /** `jti`; random when left out */
  readonly id?: string
}

/** Makes a ticket, as the login service does. */
export function ticketOf(
  subject: string,
  { minutesAgo = 0, methods, id = randomUUID() }: TicketOptions = {},
): Promise<string> {
  const now = Math.floor(Date.now() / 1000)
  return new SignJWT(methods === undefined ? {} : { amr: [...methods] })
    .setProtectedHeader({ alg: 'HS256' })
    .setSubject(subject)
    .setAudience('houston')
    .setIssuedAt(now - minutesAgo * 60)
    .setExpirationTime(now + 3600)
    .setJti(id)
    .sign(new TextEncoder().encode(SECRET))
}

/** Sends a request to the API, with a body when there is one. */
export function call(
  { port }: Pick<Workspace, 'port'>,
  requestLine: string,
  headers: readonly string[],
  body?: unknown,
): Promise<RawAnswer> {
  const [method, path] = requestLine.split(' ')
  const text = body === undefined ? '' : JSON.stringify(body)
  const fields =
    body === undefined
      ? []
      : ['Content-Type: application/json', `Content-Length: ${Buffer.byteLength(text)}`]
  return send(port, `${method} /_gateway/v1${path}`, [...headers, ...fields], text)
}

/** The JSON of an answer that must have succeeded. */
export function jsonOf(t: Test, answer: RawAnswer): Record<string, unknown> {
  t.equal(answer.status, 200, answer.body)
  t.equal(answer.headers['content-type'], 'application/json')
  t.equal(answer.headers['cache-control'], 'no-store')
  return JSON.parse(answer.body) as Record<string, unknown>
}
