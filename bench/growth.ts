/** How does cost grow with the number of connections, remembered tokens and counted addresses? Two tables show it. */
import { lookInside, type Inside } from './inside.ts'
import { Lab } from './lab.ts'
import { holdIdle } from './load/idle.ts'
import { address, writeRequests, type ListedRequest } from './load/request-file.ts'
import { PEERS, SMALL, type PeerName } from './peers/peer.ts'
import { costOf, type Cost } from './scenarios/proxied.ts'
import { median, ratios } from './statistics.ts'
import { align, show } from './table.ts'
import { CLIENT_ADDRESS, mint, TOKEN } from './workspace.ts'

const MEMORIES = [1, 1000, 100_000]

/** Requests a second that a gateway handles even on a busy machine. It bounds the time to send each request once. */
const SLOWEST = 4000

/** How long the load of a turn lasts, and how many rounds count. */
export interface Effort {
  readonly rounds: number
  readonly seconds: number
}

/** Measures both tables, and writes them. */
export async function measureGrowth(lab: Lab, effort: Effort): Promise<string> {
  return `${await byConnections(lab, effort)}\n\n${await byMemory(lab, effort)}`
}

/** A load with a number of connections that send without a pause, and a number of idle ones. */
interface Crowd {
  readonly active: number
  readonly idle: number
}

const CROWDS: readonly Crowd[] = [
  { active: 1, idle: 0 },
  { active: 32, idle: 0 },
  { active: 256, idle: 0 },
  { active: 32, idle: 1968 },
  { active: 2000, idle: 0 },
]

async function byConnections(lab: Lab, effort: Effort): Promise<string> {
  const names: PeerName[] = ['nginx-auth', 'bare', 'gateway']
  const peers = names.filter((name) => Lab.missing(name) === undefined)
  const others = peers.filter((name) => name !== 'gateway')
  const rows: string[][] = []
  for (const crowd of CROWDS) {
    const costs = await costsWith(crowd, peers, lab, effort)
    const of = (name: PeerName, key: keyof Cost) => (costs.get(name) ?? []).map((cost) => cost[key])
    rows.push([
      `${show(crowd.active, 0)} busy${crowd.idle === 0 ? '' : `, ${show(crowd.idle, 0)} idle`}`,
      ...peers.flatMap((name) => [
        show(median(of(name, 'rate')), 0),
        show(median(of(name, 'cpu')), 1),
      ]),
      ...others.map((name) => show(median(ratios(of('gateway', 'cpu'), of(name, 'cpu'))), 2)),
      show(median(of('gateway', 'refused')), 0),
    ])
  }
  return align([
    [
      'connections',
      ...peers.flatMap((name) => [`${PEERS[name]}: requests/s`, 'CPU µs']),
      ...others.map((name) => `gateway's CPU to ${PEERS[name]}`),
      'refused by the gateway, %',
    ],
    ...rows,
  ])
}

/** Measures the cost per request of each peer under such a load, per round. Above 1,024 in flight, the gateway responds 503. */
async function costsWith(
  { active, idle }: Crowd,
  peers: readonly PeerName[],
  lab: Lab,
  { rounds, seconds }: Effort,
): Promise<Map<PeerName, Cost[]>> {
  const costs = new Map<PeerName, Cost[]>(peers.map((name) => [name, []]))
  for (let round = 0; round <= rounds; round++)
    for (const name of peers) {
      const peer = await lab.peer(name)
      const letGo = await holdIdle(peer, idle)
      try {
        const cost = await costOf(peer, { seconds, connections: active }, 'either')
        if (round > 0) costs.get(name)?.push(cost)
      } finally {
        letGo()
      }
    }
  return costs
}

async function byMemory(lab: Lab, effort: Effort): Promise<string> {
  const rows: string[][] = []
  for (const count of MEMORIES)
    rows.push(
      await withRequests(lab, effort, `${show(count, 0)} tokens`, count, (i) => ({
        token: mint(`user-${i}`),
        address: CLIENT_ADDRESS,
      })),
    )
  for (const count of MEMORIES)
    rows.push(
      await withRequests(lab, effort, `${show(count, 0)} addresses`, count, (i) => ({
        token: TOKEN,
        address: address(i),
      })),
    )
  return align([
    [
      'in turns',
      'requests/s',
      'CPU µs',
      'memory, MiB',
      'heap, MiB',
      'tokens remembered',
      'limiter keys',
    ],
    ...rows,
  ])
}

/** Measures a fresh gateway after it has received each of these requests at least once. */
async function withRequests(
  lab: Lab,
  { rounds, seconds }: Effort,
  label: string,
  count: number,
  requestOf: (i: number) => Omit<ListedRequest, 'path'>,
): Promise<string[]> {
  const peer = await lab.fresh('gateway', 'peer')
  try {
    const all = Array.from({ length: count }, (_, i) => ({ path: SMALL, ...requestOf(i) }))
    const requests = writeRequests(lab.folder, 'growth', all)
    await costOf(peer, { seconds: Math.ceil(count / SLOWEST) + seconds, requests })
    const costs: Cost[] = []
    for (let round = 0; round < rounds; round++)
      costs.push(await costOf(peer, { seconds, requests }))
    const inside: Inside = await lookInside(peer)
    return [
      label,
      show(median(costs.map(({ rate }) => rate)), 0),
      show(median(costs.map(({ cpu }) => cpu)), 1),
      show(inside.residentMib, 0),
      show(inside.heapMib, 0),
      show(inside.tokens, 0),
      show(inside.limiterKeys, 0),
    ]
  } finally {
    await peer.stop()
  }
}
