/** How does a test get a session in which a second factor was shown at some time? With a cookie that it signs itself. */
import { SECRET } from './gateway.ts'
import { forge } from './forged-tokens.ts'

/** The claims of the session token in the `Cookie` line of a page's headers. */
export function claimsOf(page: readonly string[]): Record<string, unknown> {
  return partOf(page, 1)
}

function partOf([cookie = '']: readonly string[], place: number): Record<string, unknown> {
  const token = cookie.slice(cookie.indexOf('=') + 1)
  const text = Buffer.from(token.split('.')[place] ?? '', 'base64url').toString()
  return JSON.parse(text) as Record<string, unknown>
}

/** The token of a page's session with other claims, under the key of the test's gateway. */
export function tokenWith(page: readonly string[], claims: object): string {
  return forge(partOf(page, 0), { ...claimsOf(page), ...claims }, SECRET)
}

/** The headers of a page whose session has shown a factor some seconds ago; negative for the future. */
export function withFactor([cookie = '', ...rest]: readonly string[], secondsAgo = 0): string[] {
  const factorTime = Math.floor(Date.now() / 1000) - secondsAgo
  return withToken([cookie, ...rest], tokenWith([cookie], { factor_time: factorTime }))
}

/** The headers of a page with another token in the cookie. */
export function withToken([cookie = '', ...rest]: readonly string[], token: string): string[] {
  return [cookie.slice(0, cookie.indexOf('=') + 1) + token, ...rest]
}
