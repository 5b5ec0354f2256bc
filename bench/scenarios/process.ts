/** How fast does a peer start, and how much memory does it use at rest and for idle WebSockets? */
import type { Socket } from 'node:net'
import { pause } from '../child.ts'
import { openWebSocket } from '../load/handshake.ts'
import { address } from '../load/request-file.ts'
import { residentBytes } from '../proc.ts'
import { mint, visitorHeaders } from '../workspace.ts'
import type { Lab } from '../lab.ts'
import type { PeerName } from '../peers/peer.ts'
import type { Scenario, Values } from './scenario.ts'

/** How long a process rests before its memory is measured, in milliseconds. */
const REST_MS = 1000

/** The number of starts in a turn. A start is short and varies, so the median is taken over all of them. */
export const startup: Scenario = {
  peers: ['nginx', 'nginx-auth', 'caddy', 'caddy-auth', 'haproxy', 'textbook', 'bare', 'gateway'],
  needs: [],
  async measure({ name }, lab) {
    const peer = await lab.fresh(name, 'anywhere')
    await pause(REST_MS)
    const memory = residentBytes(peer.processes) / 2 ** 20
    await peer.stop()
    return { start: peer.readyMs, idle: memory }
  },
}

const THOUSAND = 1000

/** The gateway's limits of open WebSockets for one session and for one address. */
const PER_SESSION = 50

/** The number that is opened at a time. */
const AT_ONCE = 20

export const sockets: Scenario = {
  peers: ['nginx', 'nginx-auth', 'caddy', 'caddy-auth', 'haproxy', 'textbook', 'bare', 'gateway'],
  needs: [],
  measure: ({ name }, lab) => memoryOfSockets(name, lab),
}

async function memoryOfSockets(name: PeerName, lab: Lab): Promise<Values> {
  const peer = await lab.fresh(name, 'peer')
  const open: Socket[] = []
  try {
    await pause(REST_MS)
    const none = residentBytes(peer.processes)
    await openThousand(peer.port, open)
    const one = residentBytes(peer.processes)
    await openThousand(peer.port, open)
    const two = residentBytes(peer.processes)
    return { sockets: (one - none) / 2 ** 20, 'socket-pair': (two - one) / 1024 / THOUSAND }
  } finally {
    for (const socket of open) socket.destroy()
    await peer.stop()
  }
}

/** Opens a thousand more WebSockets, with as many users and addresses as the limits require, and lets them rest. */
async function openThousand(port: number, open: Socket[]): Promise<void> {
  const already = open.length
  while (open.length < already + THOUSAND) {
    const visitor = Math.floor(open.length / PER_SESSION)
    const headers = visitorHeaders(address(visitor), mint(`visitor-${visitor}`))
    const job = { port, path: '/terminal/ws', headers }
    open.push(...(await Promise.all(Array.from({ length: AT_ONCE }, () => openWebSocket(job)))))
  }
  await pause(REST_MS)
}
