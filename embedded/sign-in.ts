/** How does a user of the embedded workspace sign in? With a link that works once, for ten minutes. */
import { userInfo } from 'node:os'

/** How long a browser stays signed in unless the user sets it, in seconds: 12 hours. */
export const SESSION_SECONDS = 12 * 3600

/** The address of a workspace that listens on a port of this machine; empty when it listens on a Unix socket (port 0). */
export function originOf(port: number): string {
  return port === 0 ? '' : `http://localhost:${port}`
}

/** The name of whoever runs the workspace, which services see as the user. */
export function userName(): string {
  try {
    return userInfo().username
  } catch {
    // userInfo throws for an account without an entry in the user database.
    return 'me'
  }
}
