/** `workspace-gateway pair`: with which QR code, or link, does a device get in? */
import { parseArgs } from 'node:util'
import { qrCode, qrText } from '../answers/qr.ts'
import type { Environment } from '../config/load.ts'
import { OWNER_PATHS, type OfferAnswer, type OfferQuestion } from '../relay/link/owner-protocol.ts'
import { connectionIn, offerIn, resetIn } from '../relay/owner-answers.ts'
import { askLink, subjectOf } from './ask-link.ts'
import type { Io } from './io.ts'
import { exitCodeOf, wrongUsage } from './owner.ts'
import { waitForDevice } from './pair-wait.ts'
import { jsonText, messageText, minuteText } from './printable.ts'
import { lineEnd, OwnTerminal, type TerminalStreams } from './remote/own-terminal.ts'

/** Lines below the code: the hint, and the question. */
const LINES_BELOW = 3

/**
 * Prints a pairing link, and as a QR code; or first forgets every device. In a terminal it waits until a device has used the link, and asks
 * whether that is let in.
 * @returns 0; 1 when the link refused, or when it has ended without a device; 64 for wrong usage; 69 when it cannot be asked; 78 for an
 * invalid setting
 * @throws an error with a code `ERR_PARSE_ARGS_…` for unknown arguments
 */
export async function pair(
  args: readonly string[],
  env: Environment,
  io: Io,
  streams: TerminalStreams = process,
): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      sub: { type: 'string' },
      approved: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
      'no-wait': { type: 'boolean', default: false },
      reset: { type: 'boolean', default: false },
      yes: { type: 'boolean', default: false },
    },
  })
  const { approved: isApproved, json, reset, yes } = values
  const own = new OwnTerminal(streams)
  const waits = own.isThere && !json && !values['no-wait']
  const say = (text: string) => io.err(`workspace-gateway: ${messageText(text)}${lineEnd(streams)}`)
  return exitCodeOf(io, async () => {
    if (reset !== yes)
      throw wrongUsage(
        'pair',
        'pair --reset --yes makes a new key and forgets every device, which must all be paired again',
      )
    if (reset) await askLink(env, { method: 'POST', path: OWNER_PATHS.reset, read: resetIn })
    const sub = subjectOf(values.sub, env)
    const body: OfferQuestion = { sub, isApproved }
    const offer = await askLink(env, {
      ...{ method: 'POST', path: OWNER_PATHS.offers, body, read: offerIn },
    })
    print(offer)
    await sayWhenAway()
    if (waits) await waitForDevice({ env, own, say, offer, sub, isApproved })
  })

  function print({ link, expiresAt }: OfferAnswer): void {
    if (json) {
      io.out(jsonText({ link, expiresAt }))
      return
    }
    const end = link.indexOf('#') + 1
    const code = qrText(qrCode(link.slice(0, end), link.slice(end)))
    const missing = own.isThere ? roomFor(code, own) : undefined
    // In a terminal the link stands above the code, so that the whole code is in view.
    const lines = own.isThere ? [`${link}\n`, code] : [code, `${link}\n`]
    io.out((missing === undefined ? lines : [`${link}\n`]).join(''))
    if (missing !== undefined) say(missing)
    const then = isApproved
      ? 'whoever opens it first is let in'
      : 'then approve the device: workspace-gateway devices list'
    if (!waits) say(`for one device, until ${minuteText(expiresAt)}; ${then}`)
  }

  async function sayWhenAway(): Promise<void> {
    const { isConnected, relay, problem } = await askLink(env, {
      ...{ path: OWNER_PATHS.status, read: connectionIn },
    })
    if (isConnected) return
    const why = problem === null ? '' : `: ${problem}`
    say(
      `the link has no connection to its relay now, so that no device can get in yet; LINK_RELAY_URL is ${relay}${why}`,
    )
  }
}

/** What is missing of the room for a code, as a sentence; undefined when it fits. */
function roomFor(code: string, { columns, rows }: OwnTerminal): string | undefined {
  const lines = code.trimEnd().split('\n')
  const [width, height] = [code.indexOf('\u001B[0m') - code.indexOf('m') - 1, lines.length]
  if (columns >= width && rows >= height + LINES_BELOW) return undefined
  return `the QR code needs ${width} columns and ${height + LINES_BELOW} lines, and this terminal has ${columns} and ${rows}: make it larger, or its letters smaller, and run this again; or open the link`
}
