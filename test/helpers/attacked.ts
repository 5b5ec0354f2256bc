/** How does a test attack a device and its workspace end to end? With a malicious relay between a real link and real devices, and a service that keeps every byte. */
import type { Socket } from 'node:net'
import type { Test } from 'tap'
import type { PairedDevice } from '../../src/relay/client/paired-device.ts'
import type { Offer } from '../../src/relay/protocol/offer.ts'
import { connected, linkFor, targetFor } from './link.ts'
import { LinkTestClock } from './link-clock.ts'
import { MaliciousRelay } from './malicious-relay.ts'
import { manualClock } from './manual-clock.ts'
import { pairing, watch, type WatchedDevice } from './remote-device.ts'
import { until } from './waiting.ts'

/** What a command carries, and its answer: long enough for several records each. */
const BODY = Array.from({ length: 9000 }, (_, i) => `line ${i}\n`).join('')

/** The service: every byte that each connection has brought, and answers to whole requests. */
async function recordingService(t: Test) {
  const received: Buffer[] = []
  const serve = (socket: Socket) => {
    const index = received.push(Buffer.alloc(0)) - 1
    socket.on('data', (chunk: Buffer) => {
      const all = Buffer.concat([received[index] ?? Buffer.alloc(0), chunk])
      received[index] = all
      const [head = '', body] = all.toString().split('\r\n\r\n')
      const length = Number(/content-length: (\d+)/i.exec(head)?.[1] ?? 0)
      if (body?.length !== length) return
      socket.end(`HTTP/1.1 200 OK\r\nContent-Length: ${BODY.length}\r\n\r\n${BODY}`)
    })
  }
  const { url } = await targetFor(t, serve)
  return { url, received }
}

/** A device that has run one command, before the attack begins. */
export interface AttackedDevice extends WatchedDevice {
  readonly device: PairedDevice
  /** Sends a command. @returns its answer's text @throws when the answer does not come whole */
  command(path: string): Promise<string>
}

/** The bytes of a command, as an honest relay brings them to the service. */
export function commandBytes(path: string): string {
  const fields = ['Host: houston.hubify.com', 'Connection: close', `Content-Length: ${BODY.length}`]
  return `${[`POST ${path} HTTP/1.1`, ...fields].join('\r\n')}\r\n\r\n${BODY}`
}

/** Starts a link at a malicious relay, with a recording service behind it. */
export async function attackedScene(t: Test) {
  const relay = await MaliciousRelay.start(t)
  const { url, received } = await recordingService(t)
  const clock = new LinkTestClock()
  const env = { LINK_TARGET: url }
  const link = await linkFor(t, relay.url, env, { clock })
  await connected(link)
  const offer = async (isApproved = true): Promise<Offer> => {
    const made = await link.offer({ isApproved })
    await relay.sits(made.place)
    return made
  }
  /** The clock of a device: it stands still, so that no device comes again before the test says so. */
  const deviceClock = () => manualClock(clock.now())
  const commands = (watched: WatchedDevice, device: PairedDevice): AttackedDevice => ({
    ...{ ...watched, device },
    async command(path) {
      const answer = await watched.remote.fetch({ method: 'POST', path, body: BODY })
      return answer.text()
    },
  })
  /** Pairs a device, through whatever the relay does by then. */
  const pair = async (): Promise<AttackedDevice> => {
    const watched = watch(t, await pairing(await offer()), { clock: deviceClock() })
    await watched.remote.whenOpen()
    return commands(watched, watched.paired[0] as PairedDevice)
  }
  return {
    ...{ relay, link, env, received, offer, pair, deviceClock },
    /** Lets a paired device come again. It may not get in. */
    meet: (device: PairedDevice): AttackedDevice =>
      commands(watch(t, device, { clock: deviceClock() }), device),
    /** The first command, which shows that the way is whole. */
    async first(device: AttackedDevice): Promise<void> {
      if ((await device.command('/first')) !== BODY) throw new Error('the answer is another one')
    },
    /** Waits until the link has no channel of a device any more. */
    closed: ({ id }: Pick<PairedDevice, 'id'>) =>
      until('the link has no channel of the device any more', async () =>
        (await link.devices()).some((listed) => listed.id === id && !listed.isConnected),
      ),
  }
}

/** What a scene has. */
export type AttackedScene = Awaited<ReturnType<typeof attackedScene>>

/** Waits until a device was told that its connection is over. @returns the sentence that its owner reads */
export function toldOf({ remote }: WatchedDevice): Promise<string> {
  return until('the device is told', () => {
    const { state } = remote
    const isOver = state.kind === 'connecting' || state.kind === 'ended'
    return isOver ? state.problem?.message : undefined
  })
}
