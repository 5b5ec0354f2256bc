/** Can others reach the services without going through the gateway? */
import { canConnect } from '../../services/can-connect.ts'
import type { ServiceAddress } from '../../config/values.ts'
import { isLoopback } from '../advice.ts'
import type { Examination } from './examination.ts'
import { fail, pass, warn, type Finding } from './finding.ts'

/** This machine's own addresses answer at once or not at all. */
const CONNECT_MS = 500

interface Exposed {
  readonly check: string
  readonly address: ServiceAddress
  readonly remedy: string
}

/** Dials every service at this machine's own outer addresses; no other machine is ever dialled. */
export async function examineOpenPorts({ config, outerAddresses }: Examination) {
  const services: Exposed[] = [
    {
      check: 'dashboard-port-closed',
      address: config.dashboardUrl,
      remedy: 'start Next.js with -H 127.0.0.1',
    },
    {
      check: 'openclaw-port-closed',
      address: config.apiUrl,
      remedy: 'set gateway.bind to "loopback" in openclaw.json and restart OpenClaw',
    },
    {
      check: 'terminal-port-closed',
      address: config.terminalUrl,
      remedy: 'start ttyd with -i 127.0.0.1',
    },
    {
      check: 'stats-port-closed',
      address: config.healthUrl,
      remedy: 'have the stats server listen on 127.0.0.1',
    },
  ]
  return Promise.all(services.map((service) => examinePort(service, outerAddresses)))
}

async function examinePort(
  { check, address, remedy }: Exposed,
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
