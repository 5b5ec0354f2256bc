/** How does the command reach its workspace? By a link, once, and then by what was kept of it. It says what it waits for. */
import { hostname } from 'node:os'
import { EXIT } from '../../process/exit-codes.ts'
import {
  RemoteConnection,
  type RemoteEvents,
  type RemoteState,
} from '../../relay/client/connection.ts'
import type { PairedDevice } from '../../relay/client/paired-device.ts'
import { RemoteError, type RemoteProblem } from '../../relay/client/remote-error.ts'
import { deviceNameIn, isDeviceName, NAME_RULE } from '../../relay/protocol/handshake.ts'
import { generateKeyPair } from '../../relay/protocol/noise.ts'
import { OfferError, offerOfLink, type Offer } from '../../relay/protocol/offer.ts'
import { CommandError, wrongUsage } from '../owner.ts'
import { openBoundedSocket } from './bounded-socket.ts'
import { prepareFolder, writePairing } from './pairing-file.ts'

/** Says a sentence to the person. */
export type Say = (text: string) => void

/** What can be different in a moment, or on another network. */
const UNAVAILABLE: ReadonlySet<RemoteProblem> = new Set([
  ...(['relay-unreachable', 'too-many', 'nobody-there', 'timed-out', 'restart'] as const),
  ...(['cut', 'not-open'] as const),
])

/** The failure of a command, for an error of the device's side. Other errors stay what they are. */
export function failureOf(error: unknown): unknown {
  if (!(error instanceof RemoteError)) return error
  const exitCode = UNAVAILABLE.has(error.problem) ? EXIT.unavailable : EXIT.failed
  return new CommandError(error.message, exitCode, { cause: error })
}

/** Reads a link. @throws {CommandError} 64 */
export function offerIn(link: string): Offer {
  try {
    return offerOfLink(link)
  } catch (error) {
    if (error instanceof OfferError)
      throw wrongUsage('remote', `${error.message}; "workspace-gateway pair" prints a link`)
    throw error
  }
}

/** The name of this machine, where the owner's list can have it. */
export function ownName(): string {
  return deviceNameIn(hostname()) ?? 'remote'
}

/** Pairs this machine, and keeps the pairing. Resolves when the connection is open. @throws {CommandError} */
export async function connectByOffer(options: {
  readonly offer: Offer
  readonly name: string
  readonly file: string
  readonly say: Say
}): Promise<RemoteConnection> {
  const { offer, name, file, say } = options
  if (!isDeviceName(name)) throw wrongUsage('remote', `--name takes ${NAME_RULE}`)
  prepareFolder(file)
  const own = await generateKeyPair(true)
  const privateKey = new Uint8Array(await crypto.subtle.exportKey('pkcs8', own.privateKey))
  const kept = Promise.withResolvers<void>()
  kept.promise.catch(() => {}) // it is awaited below, when there is a connection
  const remote = RemoteConnection.pair(
    { offer, own, kind: 'command', name },
    {
      openSocket: openBoundedSocket,
      events: {
        ...progress(say),
        onPaired(device) {
          kept.resolve(writePairing(file, device, privateKey))
          say(`paired as ${device.name}, device ${device.id}`)
        },
      },
    },
  )
  await opened(remote)
  try {
    await kept.promise
  } catch (error) {
    remote.close()
    throw error
  }
  return remote
}

/**
 * Meets the workspace again. Resolves when the connection is open.
 * @param attempts after how many failed ones it gives up; undefined: never
 * @throws {CommandError}
 */
export async function connectAgain(
  device: PairedDevice,
  say: Say,
  attempts?: number,
): Promise<RemoteConnection> {
  let failed = 0
  const { promise, reject } = Promise.withResolvers<never>()
  const { onState } = progress(say)
  const remote = RemoteConnection.meet(device, {
    openSocket: openBoundedSocket,
    events: {
      onState(state) {
        if (state.kind === 'connecting' && state.retryAt !== undefined && ++failed === attempts)
          reject(state.problem ?? new RemoteError('cut', 'there is no connection'))
        else onState(state)
      },
    },
  })
  try {
    await Promise.race([opened(remote), promise])
  } catch (error) {
    remote.close()
    throw failureOf(error)
  }
  return remote
}

async function opened(remote: RemoteConnection): Promise<void> {
  try {
    await remote.whenOpen()
  } catch (error) {
    throw failureOf(error)
  }
}

/** Says what the connection waits for, each thing once. */
function progress(say: Say): Required<Pick<RemoteEvents, 'onState'>> {
  let last = ''
  return {
    onState(state) {
      const text = wordsFor(state)
      if (text !== '' && text !== last) say(text)
      if (text !== '') last = text
    },
  }
}

function wordsFor(state: RemoteState): string {
  if (state.kind === 'waiting')
    return `waiting for the owner to approve this device; its code is ${state.code} ("workspace-gateway devices list" shows the same)`
  if (state.kind === 'connecting' && state.retryAt !== undefined)
    return `${state.problem?.message ?? 'there is no connection'}; trying again`
  return ''
}
