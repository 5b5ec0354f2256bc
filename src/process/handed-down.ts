/** Did the supervisor hand a listening socket down? systemd's protocol (sd_listen_fds(3)), which others speak too. */
import { ConfigError, type Environment } from '../config/load.ts'

/** Where the first socket that is handed down always is. */
const FIRST_FD = 3

/**
 * The listening socket that was handed down.
 * @param pid the process it was meant for: variables that are left over from a parent's own start name another one
 * @throws {ConfigError} when there is more than one
 */
export function handedDownListener(env: Environment, pid: number): number | undefined {
  const { LISTEN_FDS: count, LISTEN_PID: meantFor } = env
  if (count === undefined || meantFor !== String(pid)) return undefined
  if (count !== '1')
    throw new ConfigError([
      `LISTEN_FDS "${count}": the gateway takes one listening socket; give its unit one`,
    ])
  return FIRST_FD
}
