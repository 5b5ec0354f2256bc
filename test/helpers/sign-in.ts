/** How does a test sign a browser in? As the login service does: with a ticket that is posted to the gateway. */
import type { Session } from '../../src/identity/session.ts'
import { cookie, HTTPS, ORIGIN } from './door.ts'
import { token, type TestGateway } from './gateway.ts'
import { send } from './wire.ts'

/** A browser that is signed in. */
export interface SignedIn {
  /** The session token, which the cookie holds. */
  readonly jwt: string
  /** The header lines of the browser's requests from a page of the workspace. */
  readonly fields: readonly string[]
}

/** Signs a browser in over https, by default with a new ticket. @param extra further header lines, such as an older cookie */
export async function signIn(
  port: number,
  ticket?: string,
  extra: readonly string[] = [HTTPS],
): Promise<SignedIn> {
  const form = `token=${ticket ?? (await token())}`
  const type = 'Content-Type: application/x-www-form-urlencoded'
  const fields = [...extra, type, `Content-Length: ${form.length}`]
  const answer = await send(port, 'POST /_gateway/sign-in', fields, form)
  const jwt = /__Host-workspace_session=([^;]+)/.exec(answer.headers['set-cookie'] ?? '')?.[1]
  if (jwt === undefined) throw new Error(`not signed in: ${answer.raw}`)
  return { jwt, fields: [cookie(jwt), HTTPS, `Origin: ${ORIGIN}`] }
}

/** The session of a token that the gateway accepts. */
export async function sessionOf({ running }: TestGateway, jwt: string): Promise<Session> {
  return (await running.parts.verifier.verify(jwt)).session
}
