/** What does a request cost without a proxy? The upstream itself is the peer; the table compares the others with it. */
import { SMALL, type PeerKind } from './peer.ts'

export const direct: PeerKind = {
  name: 'direct',
  async start({ upstreamPort }) {
    return {
      name: 'direct',
      port: upstreamPort,
      path: SMALL,
      processes: [],
      readyMs: Number.NaN,
      async stop() {},
    }
  },
}
