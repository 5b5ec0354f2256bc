/** How does a test have a device, a relay, and a workspace behind it? From here, one line each. */
import type { Test } from 'tap'
import type { ClientClock } from '../../src/relay/client/clock.ts'
import {
  RemoteConnection,
  type PairingOptions,
  type RemoteState,
} from '../../src/relay/client/connection.ts'
import type { PairedDevice } from '../../src/relay/client/paired-device.ts'
import type { RemoteProblem } from '../../src/relay/client/remote-error.ts'
import type { Note } from '../../src/relay/protocol/messages.ts'
import { generateKeyPair } from '../../src/relay/protocol/noise.ts'
import type { Offer } from '../../src/relay/protocol/offer.ts'
import { startFakeWorkspace, type FakeWorkspace } from './fake-workspace.ts'
import { startRelayDaemon, type RelayDaemon } from './relay-daemon.ts'
import { startTinyRelay, type TinyRelay } from './tiny-relay.ts'
import { Arrivals } from './waiting.ts'

/** What a new device pairs with. */
export async function pairing(offer: Offer): Promise<PairingOptions> {
  return { offer, own: await generateKeyPair(), kind: 'command', name: 'Laptop' }
}

/** A device whose events were noted. */
export interface WatchedDevice {
  readonly remote: RemoteConnection
  /** Every state, in order. */
  readonly states: RemoteState[]
  /** The pairings that it was told to keep. */
  readonly paired: PairedDevice[]
  readonly notes: Note[]
  /** Waits for a state of a kind, now or later. */
  until: <Kind extends RemoteState['kind']>(
    kind: Kind,
  ) => Promise<Extract<RemoteState, { kind: Kind }>>
}

/** A relay, a daemon at it, and a small gateway behind that. */
export interface Surroundings {
  readonly relay: TinyRelay
  readonly daemon: RelayDaemon
  readonly workspace: FakeWorkspace
}

/** Starts everything but a device, for one test. */
export async function startSurroundings(
  t: Test,
  options: {
    readonly kind?: 'gateway' | 'service'
    readonly now?: () => number
    readonly elapsed?: () => number
  } = {},
): Promise<Surroundings> {
  const workspace = await startFakeWorkspace(t)
  const relay = await startTinyRelay()
  const daemon = await startRelayDaemon(relay.url, { target: workspace.port, ...options })
  t.teardown(async () => {
    daemon.close()
    await relay.close()
  })
  return { relay, daemon, workspace }
}

/** Starts a device that pairs, or meets the workspace again, for one test. */
export function watch(
  t: Test,
  from: PairingOptions | PairedDevice,
  options: { readonly clock?: ClientClock; readonly random?: () => number } = {},
): WatchedDevice {
  const states: RemoteState[] = []
  const paired: PairedDevice[] = []
  const notes: Note[] = []
  const arrivals = new Arrivals()
  const events = {
    onState(state: RemoteState) {
      states.push(state)
      arrivals.wake()
    },
    onPaired: (device: PairedDevice) => void paired.push(device),
    onNote(note: Note) {
      notes.push(note)
      arrivals.wake()
    },
  }
  const remote =
    'offer' in from
      ? RemoteConnection.pair(from, { events, ...options })
      : RemoteConnection.meet(from, { events, ...options })
  t.teardown(() => remote.close())
  return {
    ...{ remote, states, paired, notes },
    until: (kind) =>
      arrivals.until(() => {
        const { state } = remote
        return state.kind === kind
          ? (state as Extract<RemoteState, { kind: typeof kind }>)
          : undefined
      }),
  }
}

/** Pairs a device and waits until it is open. */
export async function openDevice(
  t: Test,
  { daemon }: Surroundings,
): Promise<WatchedDevice & { readonly device: PairedDevice }> {
  const watched = watch(t, await pairing(await daemon.offer()))
  await watched.remote.whenOpen()
  return { ...watched, device: watched.paired[0] as PairedDevice }
}

/** What an error of the device's side has, for `t.rejects` and `t.throws`: the problem, and a sentence. */
export const failure = (problem: RemoteProblem) => ({ problem, message: /\w+ \w+/ })
