/** Nothing in between: what a proxy adds is added to this. */
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
