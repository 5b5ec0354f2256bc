/** The workspace that every peer guards: its name, its key, and the tokens and headers of its visitors. */
import { createHmac } from 'node:crypto'

export const WORKSPACE = 'houston'
const HOST = 'houston.hubify.com'

/** Signs the tokens of one run of the benchmark; nothing else knows it. */
export const SECRET = 'bench-key-3f9c1d27b8a64e05a1c4e2f7'

const encode = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')

/** A token of this subject, good for a day. By hand: a hundred thousand of them are wanted at once. */
export function mint(subject: string): string {
  const now = Math.floor(Date.now() / 1000)
  const claims = { sub: subject, aud: WORKSPACE, iat: now, exp: now + 86_400 }
  const signed = `${encode({ alg: 'HS256', typ: 'JWT' })}.${encode(claims)}`
  return `${signed}.${createHmac('sha256', SECRET).update(signed).digest('base64url')}`
}

/** The token of the one user that most measurements have. */
export const TOKEN = mint('bench')

/** The address that a trusted proxy reports for this user. */
export const CLIENT_ADDRESS = '203.0.113.77'

/** What a proxy in front, which ends TLS, sends along. @param token an empty string for none */
export function visitorHeaders(
  address: string = CLIENT_ADDRESS,
  token: string = TOKEN,
): Record<string, string> {
  return {
    Host: HOST,
    'X-Forwarded-For': address,
    'X-Forwarded-Proto': 'https',
    ...(token === '' ? {} : { Authorization: `Bearer ${token}` }),
  }
}
