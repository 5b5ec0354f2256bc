/**
 * Who has used the pairing link, and is it let in? `pair` waits for that in a terminal, so that the owner compares the digits at once, and
 * sees when somebody else was faster.
 */
import { setTimeout as pause } from 'node:timers/promises'
import { printable } from '../answers/printable.ts'
import type { Environment } from '../config/load.ts'
import { EXIT } from '../process/exit-codes.ts'
import {
  OWNER_PATHS,
  type DeviceView,
  type OfferAnswer,
  type OfferStatus,
} from '../relay/link/owner-protocol.ts'
import { deviceIn, offerStatusIn, revokedIn } from '../relay/owner-answers.ts'
import { askLink } from './ask-link.ts'
import { CommandError } from './owner.ts'
import { minuteText } from './printable.ts'
import type { Say } from './remote/connect.ts'
import { InterruptedError, type OwnTerminal } from './remote/own-terminal.ts'

/** How often the link is asked, in milliseconds. */
const LOOK_MS = 1000

const CTRL_C = 0x03

/** What is waited for, and where. */
export interface PairWait {
  readonly env: Environment
  readonly own: OwnTerminal
  readonly say: Say
  readonly offer: OfferAnswer
  /** The person for whom the link was made. */
  readonly sub: string
  /** Whether the link lets a device in without a question. */
  readonly isApproved: boolean
}

/** A device that waits for approval and shows its digits. */
type Comer = DeviceView & { readonly code: string }

/**
 * Waits until a device has used the link and was let in or sent away, or Ctrl-C, which changes nothing.
 * @throws {CommandError} 1 when the link has ended without a device, or the link process refuses; 69 when that is away
 */
export async function waitForDevice(wait: PairWait): Promise<void> {
  const { own, say, offer, isApproved } = wait
  const left = Promise.withResolvers<boolean>()
  try {
    takeTerminal(own, left.resolve)
    say(`for one device, until ${minuteText(offer.expiresAt)}; Ctrl-C leaves the link open`)
    say(`waiting for it${isApproved ? ': whoever opens the link first is let in' : ''} …`)
    let isAwaySaid = false
    for (;;) {
      const status = await look(wait)
      const device = waitingDevice(status)
      if (device === undefined && status.state !== 'open') {
        say(outcome(status))
        return
      }
      if (device !== undefined && isThere(device)) {
        if (await decide(device, wait)) return
        takeTerminal(own, left.resolve)
        continue
      }
      if (device !== undefined && !isAwaySaid) {
        say(`${named(device)} has come and left; it shows its six digits when it is back`)
        isAwaySaid = true
      }
      if (await Promise.race([left.promise, pause(LOOK_MS, false)])) {
        say(device === undefined ? openStill(offer) : waitsStill(device))
        return
      }
    }
  } finally {
    own.release()
  }
}

function look({ env, offer: { id } }: PairWait): Promise<OfferStatus> {
  return askLink(env, { path: `${OWNER_PATHS.offers}/${id}`, read: offerStatusIn })
}

/** Hears of Ctrl-C. What else is typed is thrown away: nobody answers a question that was not asked yet. */
function takeTerminal(own: OwnTerminal, leave: (isLeft: boolean) => void): void {
  own.take({
    onTyped: (bytes) => {
      if (bytes.includes(CTRL_C)) leave(true)
    },
    onResize() {},
  })
}

function waitingDevice({ device }: OfferStatus): DeviceView | undefined {
  return device?.state === 'waiting' ? device : undefined
}

function isThere(device: DeviceView): device is Comer {
  return device.code !== null
}

/** Asks the owner. @returns whether it is decided; false when the device has changed meanwhile, and with it the digits */
async function decide(device: Comer, wait: PairWait): Promise<boolean> {
  const { own, say, env, sub } = wait
  const path = `${OWNER_PATHS.devices}/${device.id}`
  say(`${named(device)} has come. Let it in only if your device shows ${device.code}`)
  say('any answer but y sends it away; Ctrl-C decides later')
  const answer = await answerFor(device, wait)
  if (answer === 'changed') return false
  if (answer === 'left') say(waitsStill(device))
  else if (answer === 'yes') {
    const read = deviceIn
    await askLink(env, { method: 'POST', path: `${path}/approve`, body: { sub }, read })
    say(`${printable(device.name)} is let in, as ${printable(sub)}; to end it: ${revoking(device)}`)
  } else {
    await askLink(env, { method: 'DELETE', path, read: revokedIn })
    say(
      `${printable(device.name)} is sent away, and has opened nothing. The link is used up: run "workspace-gateway pair" again for your own device`,
    )
  }
  own.release()
  return true
}

async function answerFor(
  device: Comer,
  wait: PairWait,
): Promise<'yes' | 'no' | 'left' | 'changed'> {
  const changed = new AbortController()
  const asked = wait.own.ask('Let it in? [y/N] ', { signal: changed.signal })
  const isAnswered = asked.then(
    () => true,
    () => true,
  )
  while (!(await Promise.race([isAnswered, pause(LOOK_MS, false)]))) {
    const now = (await look(wait)).device
    if (now?.state !== 'waiting' || now.code !== device.code) changed.abort()
  }
  try {
    return /^\s*y(es)?\s*$/i.test(await asked) ? 'yes' : 'no'
  } catch (error) {
    if (!(error instanceof InterruptedError)) throw error
    return changed.signal.aborted ? 'changed' : 'left'
  }
}

/** What became of a link that waits for nobody any more. @throws {CommandError} when no device is in by it */
function outcome({ state, device, problem }: OfferStatus): string {
  if (device !== null)
    return `${named(device)} has come and is let in, as ${printable(device.sub ?? '-')}; if it is not yours: ${revoking(device)}`
  if (problem !== null) throw failed(`a device has used the link, and was refused: ${problem}`)
  if (state === 'used')
    throw failed('a device has used the link, and is not listed any more: it was sent away')
  if (state === 'burnt')
    throw failed(
      'five attempts to use the link have failed, so it has ended, and nobody is in by it; somebody else may have seen it. "workspace-gateway pair" makes another',
    )
  throw failed('the link has ended, and nobody has used it; "workspace-gateway pair" makes another')
}

function failed(message: string): CommandError {
  return new CommandError(message, EXIT.failed)
}

function named({ name, kind, id }: DeviceView): string {
  return `${printable(name)} (${kind === 'page' ? 'a browser' : 'a command'}, device ${id})`
}

function revoking({ id }: DeviceView): string {
  return `workspace-gateway devices revoke ${id}`
}

function openStill({ expiresAt }: OfferAnswer): string {
  return `the link stays open until ${minuteText(expiresAt)}; "workspace-gateway devices list" shows who has come`
}

function waitsStill(device: DeviceView): string {
  return `${printable(device.name)} waits, for an hour at most: "workspace-gateway devices approve ${device.id}" lets it in, and "${revoking(device)}" sends it away`
}
