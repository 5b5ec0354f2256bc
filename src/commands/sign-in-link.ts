/** `workspace-gateway sign-in-link`: how does the first owner sign in? With a link that works once, for ten minutes. */
import { parseArgs } from 'node:util'
import { GatewayNotReachedError } from '../admin/ask.ts'
import { signInPath, type SignInLink } from '../admin/sign-in-link.ts'
import type { Environment } from '../config/load.ts'
import { SETTINGS } from '../config/settings.ts'
import { isSubject } from '../rules/subject.ts'
import type { Io } from './io.ts'
import { askForJson, exitCodeOf, settingOf, wrongUsage } from './owner.ts'

/** `scheme://host[:port]`, as a browser writes an origin. */
const ORIGIN = /^https?:\/\/[^\s/?#@\\]+$/

/**
 * Prints the link. The running gateway makes it; when none runs, it is made from GATEWAY_WORKSPACE and GATEWAY_JWT_SECRET.
 * @returns 0; 1 when the gateway refuses; 64 for wrong usage; 69 when a gateway runs and cannot be asked; 78 for a setting that
 * is missing or invalid
 * @throws an error with a code `ERR_PARSE_ARGS_…` for unknown arguments
 */
export async function signInLink(
  args: readonly string[],
  env: Environment,
  io: Io,
): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: { sub: { type: 'string' }, origin: { type: 'string' } },
  })
  return exitCodeOf(io, async () => {
    const { sub, origin } = values
    if (!isSubject(sub)) throw wrongUsage('sign-in-link', 'sign-in-link needs --sub NAME')
    if (origin !== undefined && !ORIGIN.test(origin))
      throw wrongUsage('sign-in-link', '--origin takes an origin such as http://localhost:3000')
    const { path, host } = await newLink(sub, env)
    io.out(`${origin ?? `https://${host}`}${path}\n`)
    io.err('workspace-gateway: the link works once, within 10 minutes\n')
  })
}

async function newLink(sub: string, env: Environment): Promise<SignInLink> {
  const stateDir = settingOf(SETTINGS.stateDir, env)
  try {
    const options = { method: 'POST', body: { sub } } as const
    return (await askForJson(stateDir, '/sign-in-link', options)) as SignInLink
  } catch (error) {
    if (!(error instanceof GatewayNotReachedError && error.isAbsent)) throw error
  }
  const workspace = settingOf(SETTINGS.workspace, env)
  const path = await signInPath(sub, {
    workspace,
    secret: settingOf(SETTINGS.jwtSecret, env),
    issuer: settingOf(SETTINGS.jwtIssuer, env),
    sessionMaxSeconds: settingOf(SETTINGS.sessionMaxSeconds, env),
  })
  return { path, host: `${workspace}.${settingOf(SETTINGS.domain, env)}` }
}
