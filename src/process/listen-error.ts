/** What does an operator read when a socket cannot be opened at the start? One line that names the setting. */
import { codeOf } from '../answers/errors.ts'
import { ConfigError } from '../config/load.ts'
import { AlreadyRunningError } from './pid-file.ts'

/** The error of an address that cannot be used. Its message names the setting, and the process ends with 69. */
export class ListenError extends Error {}

/** The codes of an address that this machine does not have, or that this user may not listen on. */
const NOT_OURS: readonly string[] = [
  'EACCES',
  'EADDRNOTAVAIL',
  'ENOTFOUND',
  'EPERM',
  'EAFNOSUPPORT',
]

/**
 * Says why a program cannot listen on its port, and which settings are meant.
 * @param prefix how the names of the program's settings begin
 * @returns an {@link AlreadyRunningError}, a {@link ConfigError}, or the error itself when it is of another kind
 */
export function portProblem(
  prefix: string,
  { host, port }: { readonly host: string; readonly port: number },
  error: unknown,
): unknown {
  const code = codeOf(error)
  if (code === 'EADDRINUSE')
    return new AlreadyRunningError(
      `${prefix}HOST ${host} ${prefix}PORT ${port} is taken by another process`,
    )
  if (!NOT_OURS.includes(code)) return error
  return new ConfigError([
    `${prefix}HOST "${host}" with ${prefix}PORT "${port}" cannot be listened on (${code}); give an address of this machine and a port that this user may use`,
  ])
}
