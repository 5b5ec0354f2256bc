/** What tests of `npm start` and of other npm scripts share: the PATH to run npm with, when the workspace is up, its sign-in link. */
import { delimiter } from 'node:path'
import type { Program } from './process.ts'
import { NAVIGATION } from './door.ts'
import { eventually } from './waiting.ts'
import { send, type RawAnswer } from './wire.ts'

/** How long a start may take on a busy machine, in milliseconds. */
export const START_MS = 60_000

/** The PATH of somebody who has not run npm: their own Node starts npm, and npm finds the Node of devDependencies. */
export const PATH_WITHOUT_NPM = (process.env['PATH'] ?? '')
  .split(delimiter)
  .filter((folder) => !folder.includes('node_modules'))
  .join(delimiter)

/** Waits until `npm start` has printed its whole welcome text. @throws what it wrote, when it ended instead */
export async function workspaceIsUp({ stdout, stderr, exited }: Program): Promise<void> {
  const isUp = eventually(() => stdout().includes('Ctrl+C stops it.'), 'the workspace', START_MS)
  const end = exited.then((code) => `ended with ${code}: ${stderr()}`)
  const problem = await Promise.race([isUp, end])
  if (problem !== undefined) throw new Error(problem)
}

/** Opens a sign-in link as a browser does in which it was typed, or clicked in another program. */
export async function openLink(link: string): Promise<RawAnswer> {
  const { port, host, pathname, search } = new URL(link)
  const headers = [`Host: ${host}`, 'Sec-Fetch-Site: none', ...NAVIGATION]
  return send(Number(port), `GET ${pathname}${search}`, headers)
}

/** Follows a sign-in link. @returns the cookie, as a browser sends it */
export async function cookieFrom(link: string): Promise<{ cookie: string }> {
  const { headers } = await openLink(link)
  return { cookie: /workspace_session=[^;]+/.exec(headers['set-cookie'] ?? '')?.[0] ?? '' }
}
