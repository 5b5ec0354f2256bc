/** How does a person of the soak sign in? As a browser does: with a ticket in a form, and from then on with the cookie. */
import { SIGN_IN } from '../../src/answers/pages/paths.ts'
import { mintToken } from '../../src/identity/mint.ts'
import { HOST, SECRET, visitorHeaders, WORKSPACE } from '../workspace.ts'
import { askFor, type Answer } from './ask.ts'

/** How long a ticket is valid (s). */
const TICKET_SECONDS = 60

/** Somebody who is signed in. */
export interface SignedIn {
  readonly subject: string
  readonly address: string
  /** The id of the session. */
  readonly id: string
  /** The headers of their browser's requests, with the cookie. */
  readonly headers: Readonly<Record<string, string>>
}

/** A fresh ticket. @param seconds how long the session lasts that it starts or renews */
export function ticket(subject: string, seconds: number): Promise<string> {
  const session = { ttlSeconds: TICKET_SECONDS, sessionSeconds: seconds }
  return mintToken({ secret: SECRET, workspace: WORKSPACE, subject, ...session })
}

/** Signs a person in, for a number of seconds. */
export async function signIn(
  port: number,
  { subject, address, seconds }: { subject: string; address: string; seconds: number },
): Promise<SignedIn> {
  const headers = { ...visitorHeaders(address, ''), Origin: `https://${HOST}` }
  const form = { token: await ticket(subject, seconds) }
  const answer = await askFor(303, { port, path: SIGN_IN, method: 'POST', headers, form })
  return signedInBy(answer, { subject, address })
}

/** Whom an answer with a cookie has signed in. */
export function signedInBy(
  { cookies }: Pick<Answer, 'cookies'>,
  { subject, address }: Pick<SignedIn, 'subject' | 'address'>,
): SignedIn {
  const [cookie = ''] = (cookies.at(-1) ?? '').split(';', 1)
  const payload = Buffer.from(cookie.split('.')[1] ?? '', 'base64url').toString('utf8')
  const { sid } = JSON.parse(payload) as { sid: string }
  const own = { Origin: `https://${HOST}`, Cookie: cookie }
  return { subject, address, id: sid, headers: { ...visitorHeaders(address, ''), ...own } }
}
