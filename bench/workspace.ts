/** Which workspace do the peers protect? This one: its name, its key, and the tokens and headers of its clients. */
import { createHmac } from 'node:crypto'

export const WORKSPACE = 'houston'
/** Its public host. */
export const HOST = 'houston.hubify.com'

/** The key that signs the tokens of one run. It is random and used nowhere else. */
export const SECRET = 'bench-key-3f9c1d27b8a64e05a1c4e2f7'

const encode = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')

/** Makes a token for a subject, valid for a day. No library is used, because a hundred thousand are needed quickly. */
export function mint(subject: string): string {
  const now = Math.floor(Date.now() / 1000)
  const claims = { sub: subject, aud: WORKSPACE, iat: now, exp: now + 86_400 }
  const signed = `${encode({ alg: 'HS256', typ: 'JWT' })}.${encode(claims)}`
  return `${signed}.${createHmac('sha256', SECRET).update(signed).digest('base64url')}`
}

/** The token of the user in most measurements. */
export const TOKEN = mint('bench')

/** The address that the front proxy reports for this user. */
export const CLIENT_ADDRESS = '203.0.113.77'

/** The headers that a front proxy, which terminates TLS, adds. @param token an empty string for none */
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
