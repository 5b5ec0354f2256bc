/** Can other machines reach a service past the gateway? They can when its port is open at an address beyond loopback. */
import { canConnect } from '../../services/can-connect.ts'
import type { ServiceAddress } from '../../config/values.ts'
import { DAEMON_WORDS } from './daemon.ts'
import { doctorWords, PROBED_SERVICES, SERVICES } from '../../rules/services.ts'
import { isLoopback } from '../advice.ts'
import type { Examination } from './examination.ts'
import { fail, pass, warn, type Finding } from './finding.ts'

/** The time limit for a connection, in milliseconds. The addresses are this machine's own, so it accepts at once or never. */
const CONNECT_MS = 500

/** Connects to the port of every probed service at this machine's own outer addresses; to no other machine. */
export async function examineOpenPorts({ config, outerAddresses }: Examination) {
  const services = PROBED_SERVICES.map((name) => ({
    words: doctorWords(name),
    address: config[SERVICES[name].address.key],
  }))
  const { daemonUrl } = config
  if (daemonUrl !== undefined) services.push({ words: DAEMON_WORDS, address: daemonUrl })
  return Promise.all(
    services.map(({ words: { name, bind }, address }) =>
      examinePort(`${name}-port-closed`, address, bind, outerAddresses),
    ),
  )
}

async function examinePort(
  check: string,
  address: ServiceAddress,
  remedy: string,
  outerAddresses: readonly string[],
): Promise<Finding> {
  const { url, hostname, port, socketPath } = address
  if (socketPath !== undefined || port === undefined)
    return pass(check, `${url} is a Unix socket: there is no port`)
  const host = hostname.replace(/^\[(.*)\]$/, '$1')
  if (!isLoopback(host) && host !== '0.0.0.0' && host !== '::') {
    return warn(
      check,
      `${url} is not on loopback: whoever reaches it gets past the gateway`,
      'run the service on this machine and bind it to 127.0.0.1, or keep others off that network',
    )
  }
  const tried = await Promise.all(
    outerAddresses.map(async (one) =>
      (await canConnect({ host: one, port }, CONNECT_MS)) ? [one] : [],
    ),
  )
  const open = tried.flat()
  return open.length === 0
    ? pass(check, `port ${port} is closed at ${outerAddresses.join(', ') || 'no other address'}`)
    : fail(check, `port ${port} is open at ${open.join(', ')}, past the gateway`, remedy)
}
