/** How does a browser get at a workspace as `npm start` makes it? Started in a folder of its own, as on a machine without ttyd. */
import type { Test } from 'tap'
import { temporaryFolder } from '../helpers/process.ts'
import { startProgram } from './neighbour.ts'

const START = new URL('../../embedded/start.ts', import.meta.url).pathname

/** A workspace of `npm start`, with what it prints. */
export interface BuiltIn {
  readonly folder: string
  /** The link that signs in, once. */
  readonly link: string
  /** The name and password of the terminal, which the browser sends. */
  readonly httpCredentials: { readonly username: string; readonly password: string }
}

/**
 * Starts it, and stops it when the test ends.
 * @param settings variables besides the usual ones, or in their place
 */
export async function startBuiltIn(
  t: Test,
  settings: Readonly<Record<string, string>> = {},
  folder = temporaryFolder(t),
): Promise<BuiltIn> {
  const program = startProgram(process.execPath, [START], {
    cwd: folder,
    env: {
      PATH: '/usr/bin:/bin', // without a ttyd
      ...{ HOME: folder, TMPDIR: folder, SHELL: '/bin/bash', GATEWAY_PORT: '0' },
      ...settings,
    },
  })
  t.teardown(() => program.stop())
  await program.written(/Ctrl\+C stops it/)
  const [, link = ''] = /(http\S+\/_gateway\/sign-in\S+)/.exec(program.output()) ?? []
  const [, username = '', password = ''] =
    /a name and a password:\n\s+(\S+)\n\s+(\S+)/.exec(program.output()) ?? []
  return { folder, link, httpCredentials: { username, password } }
}
