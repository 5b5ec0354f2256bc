/**
 * How does the first owner sign in, and whoever has lost their way in? With a link that the machine makes: it works once and
 * for ten minutes, and starts a session as long as GATEWAY_SESSION_MAX_SECONDS allows.
 */
import { SIGN_IN } from '../answers/pages/paths.ts'
import type { Key } from '../identity/key-ring.ts'
import { mintToken } from '../identity/mint.ts'

/** For how long the link works, in seconds. */
const LINK_SECONDS = 600

/** What a link is made of. */
export interface LinkOptions {
  /** The secret that signs, or the key that was made of it. */
  readonly secret: string | Key
  readonly workspace: string
  readonly issuer: string | undefined
  readonly sessionMaxSeconds: number
}

/** A sign-in link, without the origin at which the workspace is reached. */
export interface SignInLink {
  /** Path and query. It holds a ticket, so it is a secret until it has been used. */
  readonly path: string
  /** The public host of the workspace. */
  readonly host: string
}

/**
 * The path and query of a new sign-in link.
 * @throws {Error} when the subject cannot be one
 */
export async function signInPath(
  subject: string,
  { secret, workspace, issuer, sessionMaxSeconds }: LinkOptions,
): Promise<string> {
  const token = await mintToken({
    ...{ secret, workspace, subject, issuer },
    ttlSeconds: LINK_SECONDS,
    sessionSeconds: sessionMaxSeconds,
  })
  return `${SIGN_IN}?token=${token}`
}
