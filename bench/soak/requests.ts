/** What do crowds do? They send requests from thousands of addresses, and open and close WebSockets without a farewell. */
import { pause } from '../child.ts'
import type { Lab } from '../lab.ts'
import { openWebSocket } from '../load/handshake.ts'
import { address, writeRequests, type ListedRequest } from '../load/request-file.ts'
import { runWrk } from '../load/wrk.ts'
import { SMALL } from '../peers/peer.ts'
import { mint, visitorHeaders } from '../workspace.ts'
import { nothingOf, type Activity } from './activity.ts'
import type { Programs } from './programs.ts'

/** The duration of the load in a stretch (s). */
const LOAD_SECONDS = 15

const ADDRESSES = 20_000
const TOKENS = 2000

/** The number of WebSockets that are opened and closed in each stretch. */
const SOCKETS = 60

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

/** The crowds. */
export function crowds(lab: Lab, { gateway }: Programs): Activity {
  const done = nothingOf('answered', 'refused', 'sockets')
  const requests = writeRequests(lab.folder, 'soak', visitors())
  return {
    done,
    async stretch() {
      const job = { target: gateway, seconds: LOAD_SECONDS, headers: visitorHeaders(), requests }
      const [load] = await Promise.all([runWrk(job), openAndClose(gateway.port)])
      done.answered += load.requests - load.refused
      done.refused += load.refused
      done.sockets += SOCKETS
    },
  }
}

/** Opens WebSockets and closes their connections without a close frame, as browsers do. */
async function openAndClose(port: number): Promise<void> {
  for (let i = 0; i < SOCKETS; i++) {
    const headers = visitorHeaders(address(i), mint(`user-${i}`))
    const socket = await openWebSocket({ port, path: '/terminal/ws', headers })
    await pause(20)
    socket.destroy()
  }
}
