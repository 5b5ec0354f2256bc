/** How does a test reach a real gateway through a relay? With a link in this process, whose list of devices the gateway hears. */
import type { Test } from 'tap'
import { linkFor } from './link.ts'
import { connected } from './link.ts'
import { LinkTestClock } from './link-clock.ts'
import { startLinked } from './linked.ts'
import { temporaryFolder } from './process.ts'
import { pairing, watch } from './remote-device.ts'

/** Starts a gateway, and a link at a relay that runs. @param sits waits until the relay has the place of an offer */
export async function startReached(
  t: Test,
  {
    relay,
    sits,
    settings = {},
  }: {
    readonly relay: string
    readonly sits: (place: Uint8Array<ArrayBuffer>) => Promise<unknown>
    readonly settings?: Record<string, string>
  },
) {
  const workspace = await startLinked(t, settings)
  const folder = temporaryFolder(t)
  const clock = new LinkTestClock()
  clock.turn(Date.now() - clock.now())
  const env = { GATEWAY_LINK_SOCKET: workspace.linkSocket }
  const link = await linkFor(t, relay, env, { folder, clock })
  await connected(link)
  const offer = async (isApproved = true) => {
    const made = await link.offer({ isApproved })
    await sits(made.place)
    return made
  }
  return {
    ...{ ...workspace, link, offer, folder, env },
    /** Pairs a device, which is let in. */
    pair: async () => {
      const watched = watch(t, await pairing(await offer()))
      await watched.remote.whenOpen()
      return watched
    },
  }
}
