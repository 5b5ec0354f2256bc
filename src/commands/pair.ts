/** `workspace-gateway pair`: with which QR code, or link, does a device get in? */
import { parseArgs } from 'node:util'
import { qrCode, qrText } from '../answers/qr.ts'
import type { Environment } from '../config/load.ts'
import { OWNER_PATHS, type OfferAnswer, type OfferQuestion } from '../relay/link/owner-protocol.ts'
import { isConnectedIn, offerIn, resetIn } from '../relay/owner-answers.ts'
import { askLink, subjectOf } from './ask-link.ts'
import type { Io } from './io.ts'
import { exitCodeOf, wrongUsage } from './owner.ts'
import { jsonText, minuteText } from './printable.ts'

/**
 * Prints a pairing link, and as a QR code; or first forgets every device.
 * @returns 0; 1 when the link refused; 64 for wrong usage; 69 when it cannot be asked; 78 for an invalid setting
 * @throws an error with a code `ERR_PARSE_ARGS_…` for unknown arguments
 */
export async function pair(args: readonly string[], env: Environment, io: Io): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      sub: { type: 'string' },
      approved: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
      reset: { type: 'boolean', default: false },
      yes: { type: 'boolean', default: false },
    },
  })
  const { sub, approved: isApproved, json, reset, yes } = values
  return exitCodeOf(io, async () => {
    if (reset !== yes)
      throw wrongUsage(
        'pair',
        'pair --reset --yes makes a new key and forgets every device, which must all be paired again',
      )
    if (reset) await askLink(env, { method: 'POST', path: OWNER_PATHS.reset, read: resetIn })
    const body: OfferQuestion = { sub: subjectOf(sub, env), isApproved }
    print(await askLink(env, { method: 'POST', path: OWNER_PATHS.offers, body, read: offerIn }))
    if (!(await askLink(env, { path: OWNER_PATHS.status, read: isConnectedIn })))
      io.err(
        'workspace-gateway: the link has no connection to its relay now, so that no device can get in yet\n',
      )
  })

  function print({ link, expiresAt }: OfferAnswer): void {
    if (json) {
      io.out(jsonText({ link, expiresAt }))
      return
    }
    const end = link.indexOf('#') + 1
    io.out(`${qrText(qrCode(link.slice(0, end), link.slice(end)))}${link}\n`)
    const next = isApproved
      ? 'whoever opens it first is let in'
      : 'then approve the device: workspace-gateway devices list'
    io.err(`workspace-gateway: for one device, until ${minuteText(expiresAt)}; ${next}\n`)
  }
}
