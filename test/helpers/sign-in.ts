/** How does a test sign a browser in? As the login service does: with a ticket that is posted to the gateway. */
import type { Session } from '../../src/identity/session.ts'
import { forge, HEADER } from './forged-tokens.ts'
import { SECRET, type TestGateway } from './gateway.ts'
import { send } from './wire.ts'
import { cookie, HTTPS, ORIGIN } from './door.ts'

/** A browser that is signed in. */
export interface SignedIn {
  /** The session token, which the cookie holds. */
  readonly jwt: string
  readonly session: Session
  /** The header lines of the browser's requests from a page of the workspace. */
  readonly fields: readonly string[]
}

/** A new ticket of the login service. @param sessionSeconds how long the session lasts that it starts */
export function ticket({ sessionSeconds, subject = 'alice' }: TicketOptions): string {
  const now = Math.floor(Date.now() / 1000)
  const claims = { sub: subject, aud: 'houston', iat: now, exp: now + 60 }
  return forge(
    HEADER,
    { ...claims, jti: crypto.randomUUID(), session_exp: now + sessionSeconds },
    SECRET,
  )
}

export interface TicketOptions {
  readonly sessionSeconds: number
  readonly subject?: string
}

/** Signs a browser in over https. */
export async function signIn(
  { port, running }: Pick<TestGateway, 'port' | 'running'>,
  options: TicketOptions,
): Promise<SignedIn> {
  const form = `token=${ticket(options)}`
  const answer = await send(
    port,
    'POST /_gateway/sign-in',
    [HTTPS, 'Content-Type: application/x-www-form-urlencoded', `Content-Length: ${form.length}`],
    form,
  )
  const jwt = /__Host-workspace_session=([^;]+)/.exec(answer.headers['set-cookie'] ?? '')?.[1]
  if (jwt === undefined) throw new Error(`not signed in: ${answer.status} ${answer.body}`)
  const { session } = await running.parts.verifier.verify(jwt)
  return { jwt, session, fields: [cookie(jwt), HTTPS, `Origin: ${ORIGIN}`] }
}
