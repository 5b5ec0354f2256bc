/**
 * What do devices do at the relay? They pair with the workspace's link and speak with the gateway through a channel that the relay cannot
 * read, go, come back, and are revoked; one stays. Rooms of other workspaces come and go beside them.
 */
import { RemoteConnection, type RemoteState } from '../../src/relay/client/connection.ts'
import type { PairedDevice } from '../../src/relay/client/paired-device.ts'
import { openTerminal } from '../../src/relay/client/terminal.ts'
import { LinkOwner } from '../../src/relay/owner-client.ts'
import { generateKeyPair } from '../../src/relay/protocol/noise.ts'
import { offerOfLink } from '../../src/relay/protocol/offer.ts'
import { pause } from '../child.ts'
import { openRooms } from '../load/rooms.ts'
import { SMALL } from '../peers/peer.ts'
import { inTime, nothingOf, type Activity } from './activity.ts'
import type { Programs } from './programs.ts'

/** The devices that pair in each stretch, and the rooms of others. */
const DEVICES = 2
const ROOMS = 40

/** How long those rooms stay (ms). */
const ROOMS_MS = 3000

/** A device that has paired, and its connection. */
interface Paired {
  readonly device: PairedDevice
  readonly remote: RemoteConnection
}

/** Devices, channels and rooms. */
export class Devices implements Activity {
  readonly done = nothingOf(
    ...(['paired', 'came back', 'requests', 'terminals', 'revoked', 'rooms of others'] as const),
  )
  readonly #owner: LinkOwner
  readonly #relayPort: number
  #number = 0
  #resident: RemoteConnection | undefined
  /** Every connection that is not over: each would try to come back for ever. */
  readonly #open = new Set<RemoteConnection>()

  constructor({ linkOwner, relay }: Programs) {
    this.#owner = new LinkOwner(linkOwner)
    this.#relayPort = relay.port
  }

  async stretch(): Promise<void> {
    this.#resident ??= (await this.#pair()).remote
    await this.#request(this.#resident)
    for (let i = 0; i < DEVICES; i++) await this.#live()
    await this.#openRooms()
  }

  async finish(): Promise<void> {
    if (this.#resident !== undefined) await this.#request(this.#resident)
  }

  close(): void {
    for (const remote of this.#open) remote.close()
  }

  /** The life of a device, from the pairing to the revocation. */
  async #live(): Promise<void> {
    const { device, remote: first } = await this.#pair()
    await this.#request(first)
    this.#end(first)
    const gone = Promise.withResolvers<RemoteState>()
    const onState = (state: RemoteState) => {
      if (state.kind === 'ended') gone.resolve(state)
    }
    const remote = RemoteConnection.meet(device, { events: { onState } })
    this.#open.add(remote)
    await inTime('a device that comes back', remote.whenOpen())
    this.done['came back']++
    await this.#request(remote)
    await this.#openTerminal(remote)
    await this.#owner.revoke(device.id)
    const end = await inTime('the end of a device', gone.promise)
    if (end.kind !== 'ended' || end.problem.problem !== 'revoked')
      throw new Error(`a revoked device is told ${JSON.stringify(end)}`)
    this.#open.delete(remote)
    this.done.revoked++
  }

  async #pair(): Promise<Paired> {
    const number = this.#number++
    const { link } = await this.#owner.offer({ sub: `traveller-${number}`, isApproved: true })
    const kept = Promise.withResolvers<PairedDevice>()
    const own = await generateKeyPair()
    const remote = RemoteConnection.pair(
      { offer: offerOfLink(link), own, kind: 'command', name: `Device ${number}` },
      { events: { onPaired: kept.resolve } },
    )
    this.#open.add(remote)
    await inTime('a paired device', remote.whenOpen())
    const device = await inTime('a pairing', kept.promise)
    this.done.paired++
    return { device, remote }
  }

  #end(remote: RemoteConnection): void {
    remote.close()
    this.#open.delete(remote)
  }

  async #request(remote: RemoteConnection): Promise<void> {
    const answer = await inTime('an answer for a device', remote.fetch({ path: SMALL }))
    const text = await inTime('a whole answer for a device', answer.text())
    if (answer.status !== 200) throw new Error(`a device gets ${answer.status}: ${text}`)
    this.done.requests++
  }

  /** Opens a shell through the channel, uses it and ends it. */
  async #openTerminal(remote: RemoteConnection): Promise<void> {
    const over = Promise.withResolvers<boolean>()
    const seen = Promise.withResolvers<void>()
    let screen = ''
    const terminal = await openTerminal(remote, {
      ...{ columns: 80, rows: 24 },
      onOutput(bytes) {
        screen += Buffer.from(bytes).toString('latin1')
        if (screen.includes('hello-42')) seen.resolve()
      },
      onClose: ({ isOver }) => over.resolve(isOver),
    })
    terminal.input('echo hello-$((6*7))\r')
    await inTime('an answer of the shell of a device', seen.promise)
    terminal.input('exit\r')
    if (!(await inTime('the end of the shell of a device', over.promise)))
      throw new Error('the terminal of a device was lost')
    this.done.terminals++
  }

  async #openRooms(): Promise<void> {
    const { rooms, end } = await openRooms(this.#relayPort, ROOMS)
    await pause(ROOMS_MS)
    end()
    this.done['rooms of others'] += rooms.length
  }
}
