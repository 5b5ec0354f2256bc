/** Does any resource grow without bound? Hours of mixed load on one gateway, with a sample after each stretch, show it. */
import { truncateSync } from 'node:fs'
import { pause } from './child.ts'
import { lookInside, type Inside } from './inside.ts'
import type { Lab } from './lab.ts'
import { openWebSocket } from './load/handshake.ts'
import { address, writeRequests, type ListedRequest } from './load/request-file.ts'
import { runWrk } from './load/wrk.ts'
import { SMALL, type Peer } from './peers/peer.ts'
import { median } from './statistics.ts'
import { align, show } from './table.ts'
import { mint, visitorHeaders } from './workspace.ts'

/** The duration of a stretch of load, and of the rest before a sample, in seconds. */
const STRETCH_SECONDS = 15
const REST_SECONDS = 2

/** The samples of the heap per second under load. */
const HEAP_LOOKS = 4

const ADDRESSES = 20_000
const TOKENS = 2000

/** The number of WebSockets that are opened and closed in each stretch. */
const SOCKETS = 60

/** The growth that is tolerated, because the time of a garbage collection varies. */
const SLACK = 1.1

/** The rows of the table at the end. */
const ROWS = 12

/** The mix of requests: mostly users; a few without a token, with a forged token, and for sensitive files. */
function visitors(): ListedRequest[] {
  const tokens = Array.from({ length: TOKENS }, (_, i) => mint(`user-${i}`))
  return Array.from({ length: ADDRESSES }, (_, i) => {
    const from = { path: SMALL, address: address(i) }
    if (i % 20 === 0) return from
    if (i % 20 === 1) return { ...from, path: '/api/.env' }
    const token = tokens[i % TOKENS] ?? ''
    return { ...from, token: i % 20 === 2 ? `${token.slice(0, -8)}AAAAAAAA` : token }
  })
}

/** Loads the gateway for a number of minutes. @param say called with the text of each sample */
export async function soak(
  lab: Lab,
  minutes: number,
  say: (text: string) => void,
): Promise<string> {
  const peer = await lab.peer('gateway')
  const requests = writeRequests(lab.folder, 'soak', visitors())
  const looks: Inside[] = []
  const endsAt = performance.now() + minutes * 60_000
  let answered = 0
  while (performance.now() < endsAt) {
    const [load, heapMib] = await Promise.all([
      runWrk({ target: peer, seconds: STRETCH_SECONDS, headers: visitorHeaders(), requests }),
      leastHeap(peer),
      openAndClose(peer),
    ])
    answered += load.requests
    await pause(REST_SECONDS * 1000)
    const look = { ...(await lookInside(peer)), heapMib }
    looks.push(look)
    truncateSync(peer.files?.log ?? '') // otherwise an hour's log would fill the disk
    say(`${show(answered, 0)} requests: ${JSON.stringify(look)}`)
  }
  return `${tableOf(looks)}\n\n${verdict(looks)}`
}

/** The smallest heap of a stretch, in MiB: right after a collection, when it contains only live objects. */
async function leastHeap(peer: Peer): Promise<number> {
  let least = Number.POSITIVE_INFINITY
  for (let i = 0; i < (STRETCH_SECONDS - 1) * HEAP_LOOKS; i++) {
    await pause(1000 / HEAP_LOOKS)
    least = Math.min(least, (await lookInside(peer)).heapMib)
  }
  return least
}

/** Opens WebSockets and closes their connections without a close frame, as browsers do. */
async function openAndClose({ port }: Peer): Promise<void> {
  for (let i = 0; i < SOCKETS; i++) {
    const headers = visitorHeaders(address(i), mint(`user-${i}`))
    const socket = await openWebSocket({ port, path: '/terminal/ws', headers })
    await pause(20)
    socket.destroy()
  }
}

const KEYS = ['residentMib', 'heapMib', 'files', 'tokens', 'limiterKeys'] as const

function tableOf(looks: readonly Inside[]): string {
  const step = Math.max(1, Math.ceil(looks.length / ROWS))
  const rows = looks.flatMap((look, i) =>
    i % step === 0 || i === looks.length - 1
      ? [[String(i + 1), ...KEYS.map((key) => show(look[key], 0))]]
      : [],
  )
  return align([['look', ...KEYS], ...rows])
}

/** Compares the medians of the last and the middle third. The first third is ignored, because it fills caches. */
function verdict(looks: readonly Inside[]): string {
  const third = Math.floor(looks.length / 3)
  if (third < 3) return 'too short to say whether anything grows'
  const middle = (from: number, key: (typeof KEYS)[number]) =>
    median(looks.slice(from, from + third).map((look) => look[key]))
  return (['residentMib', 'heapMib', 'files'] as const)
    .map((key) => {
      const before = middle(looks.length - 2 * third, key)
      const after = middle(looks.length - third, key)
      const isFlat = after <= before * SLACK
      return `${key}: ${show(before, 0)} in the middle third, ${show(after, 0)} in the last: ${isFlat ? 'flat' : 'GROWS'}`
    })
    .join('\n')
}
