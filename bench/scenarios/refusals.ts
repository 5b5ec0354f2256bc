/** What does a refusal cost? It must be much cheaper than a proxied request, because refused requests come in large numbers. */
import type { Peer, Target } from '../peers/peer.ts'
import { statusOf } from '../ready.ts'
import { mint, visitorHeaders } from '../workspace.ts'
import { costOf } from './proxied.ts'
import { cpuIn, type Scenario, type Values } from './scenario.ts'

/** A token whose signature is wrong. */
const FORGED = `${mint('forger').slice(0, -8)}AAAAAAAA`

/** One kind of refusal. */
interface Refusal {
  readonly name: '401' | 'forged' | '403' | '429'
  readonly status: number
  readonly headers: Record<string, string>
  /** The target; undefined when the peer has no such refusal. */
  readonly target: (peer: Peer) => Promise<Target | undefined>
}

const REFUSALS: readonly Refusal[] = [
  {
    name: '401',
    status: 401,
    headers: visitorHeaders(undefined, ''),
    target: async (peer) => (checksTokens(peer) ? peer : undefined),
  },
  {
    name: 'forged',
    status: 401,
    headers: visitorHeaders(undefined, FORGED),
    target: async (peer) => (checksTokens(peer) ? peer : undefined),
  },
  {
    name: '403',
    status: 403,
    headers: visitorHeaders(),
    target: async (peer) => ({ ...peer, path: '/api/.env' }),
  },
  {
    name: '429',
    status: 429,
    headers: visitorHeaders(undefined, ''),
    target: async (peer) => (isRefuser(peer) ? peer : peer.limited?.()),
  },
]

const isRefuser = ({ name }: Peer): boolean => name === 'refuser'

const checksTokens = ({ name }: Peer): boolean => name !== 'nginx' && name !== 'caddy'

export const refusals: Scenario = {
  peers: [
    'nginx',
    'nginx-auth',
    'caddy',
    'caddy-auth',
    'haproxy',
    'textbook',
    'refuser',
    'gateway',
  ],
  needs: ['wrk'],
  load: async (peer, _lab, seconds) => cpuIn(await refuseAll(peer, seconds)),
  measure: (peer, _lab, seconds) => refuseAll(peer, seconds),
}

async function refuseAll(peer: Peer, seconds: number): Promise<Values> {
  const shorter = Math.max(1, Math.floor(seconds / 2))
  const own = isRefuser(peer) ? undefined : await costOf(peer, { seconds: shorter })
  const values: Values = {}
  for (const { name, status, headers, target } of REFUSALS) {
    const where = await target(peer)
    if (where === undefined) continue
    if (!isRefuser(peer)) await untilRefused(where, headers, status)
    const { rate, cpu } = await costOf(where, { seconds: shorter, headers }, 'refused')
    values[`${name}-rate`] = rate
    if (own !== undefined) values[`${name}-times`] = rate / own.rate
    values[`${name}-cpu`] = cpu
  }
  return values
}

/** Sends requests until one is refused with the expected status, because a rate limit must be used up first. */
async function untilRefused(
  target: Target,
  headers: Readonly<Record<string, string>>,
  expected: number,
): Promise<void> {
  let status: number | undefined
  for (let attempt = 0; attempt < 20; attempt++) {
    status = await statusOf(target, headers)
    if (status === expected) return
  }
  throw new Error(`port ${target.port} ${target.path} answers ${status}, not ${expected}`)
}
