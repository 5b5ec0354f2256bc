/** Does the first frame of a terminal settle a try at its token, wherever its bytes are cut? */
import { PassThrough } from 'node:stream'
import t from 'tap'
import { closeFrame } from '../../src/http/frames.ts'
import { PasswordTry } from '../../src/limits/password-tries.ts'
import { settleByFirstFrame } from '../../src/terminals/token-verdict.ts'
import { serverFrame } from '../helpers/wire.ts'

const PING = serverFrame(9, 'are you there')
const EMPTY_PING = serverFrame(9, '')
const LONGEST_PING = serverFrame(9, 'x'.repeat(125))
const REFUSED = closeFrame(1008, 'not authenticated')

/** What a terminal sends, and how the try is settled; 'open' when it is not. */
const ROWS: readonly [what: string, sent: readonly Buffer[], settled: unknown][] = [
  ['a wrong token', [REFUSED], false],
  ['a wrong token, after pings', [PING, EMPTY_PING, LONGEST_PING, REFUSED], false],
  ['a wrong token, and what follows', [REFUSED, serverFrame(2, '0output')], false],
  ['output', [serverFrame(2, '0x')], true],
  ['output, and then the close of a wrong token', [serverFrame(2, '0x'), REFUSED], true],
  ['a text message after a ping', [PING, serverFrame(1, 'x')], true],
  ['an empty message', [serverFrame(2, '')], true],
  ['a terminal that has ended', [closeFrame(1012, 'the terminal has ended')], undefined],
  ['a close without a code', [serverFrame(8, '')], undefined],
  ['only pings', [PING, LONGEST_PING], 'open'],
  ['half a close frame', [REFUSED.subarray(0, 3)], 'open'],
  ['nothing', [], 'open'],
  ['what is no frame', [Buffer.from('HTTP/1.1 200 OK\r\n')], 'open'],
]

/** @param headBytes how many bytes come with the 101 @param pieceBytes in what pieces the others come */
async function settledBy(sent: Buffer, headBytes: number, pieceBytes: number): Promise<unknown> {
  const settled: unknown[] = []
  const service = new PassThrough()
  const attempt = new PasswordTry((isAccepted) => settled.push(isAccepted))
  const outcome = { reason: undefined }
  settleByFirstFrame(service, sent.subarray(0, headBytes), attempt, outcome)
  for (let at = headBytes; at < sent.length; at += pieceBytes)
    service.write(sent.subarray(at, at + pieceBytes))
  service.end()
  service.resume()
  await service.toArray()
  if ((settled[0] === false) !== (outcome.reason === 'wrong token')) throw new Error('its reason')
  if (settled.length > 1) throw new Error('it was settled twice')
  if (settled.length > 0 && service.listenerCount('data') > 0) throw new Error('it reads on')
  return settled.length === 0 ? 'open' : settled[0]
}

for (const [what, sent, settled] of ROWS)
  t.test(what, async (t) => {
    const bytes = Buffer.concat(sent)
    for (const headBytes of [0, 1, 2, 3, 4, bytes.length])
      for (const pieceBytes of [1, 2, 3, 4, 7, bytes.length + 1])
        t.equal(await settledBy(bytes, Math.min(headBytes, bytes.length), pieceBytes), settled)
  })
