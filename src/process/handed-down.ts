/**
 * Did the supervisor pass a listening socket to this process? It says so in systemd's protocol, sd_listen_fds(3), which
 * other supervisors implement too.
 */
import { ConfigError, type Environment } from '../config/load.ts'

/** The first socket that is passed always has this descriptor (SD_LISTEN_FDS_START). */
const FIRST_FD = 3

/**
 * The descriptor of the listening socket that was passed, or undefined.
 * @param pid The process that the socket must be meant for. Variables inherited from a parent that was started the same way
 * name the parent.
 * @throws {ConfigError} when more than one socket was passed
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
