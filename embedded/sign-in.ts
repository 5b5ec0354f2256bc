/** How does a user of the embedded workspace sign in? With a link that works once, and that this module makes. */
import { userInfo } from 'node:os'
import { mintToken } from '../src/identity/mint.ts'

/** How long a link waits to be opened, in seconds. */
const LINK_SECONDS = 10 * 60

/** How long a browser stays signed in, in seconds. */
const SESSION_SECONDS = 12 * 3600

/** What a link is signed with, and for which workspace. */
export interface LinkOptions {
  readonly secret: string
  readonly workspace: string
  /** `iss`; left out when undefined */
  readonly issuer: string | undefined
}

/**
 * Makes a link that signs a browser in once.
 * @param origin the workspace's address; an empty string makes a path alone
 */
export async function makeSignInLink(origin: string, options: LinkOptions): Promise<string> {
  const token = await mintToken({
    ...options,
    subject: userName(),
    ttlSeconds: LINK_SECONDS,
    sessionSeconds: SESSION_SECONDS,
  })
  return `${origin}/_gateway/sign-in?token=${token}`
}

/** The address of a workspace that listens on a port of this machine; empty when it listens on a Unix socket (port 0). */
export function originOf(port: number): string {
  return port === 0 ? '' : `http://localhost:${port}`
}

function userName(): string {
  try {
    return userInfo().username
  } catch {
    // userInfo throws for an account without an entry in the user database.
    return 'me'
  }
}
