/** Does docs/relay-protocol.md say what the code does? Its tables, its numbers and its example are held against the code. */
import { readFileSync } from 'node:fs'
import t from 'tap'
import {
  FIRST_MESSAGE_LENGTH,
  MAX_NAME_BYTES,
  SECOND_MESSAGE_LENGTH,
} from '../../../src/relay/protocol/handshake.ts'
import { OFFER_SECONDS } from '../../../src/relay/protocol/offer.ts'
import { PLACE_ID_LENGTH, PLACE_KEY_LENGTH } from '../../../src/relay/protocol/places.ts'
import {
  CHANNEL_CLOSE,
  MAX_BODY_LENGTH,
  ONLY_FROM,
  RECORD,
  RECORD_SIZES,
  type RecordType,
} from '../../../src/relay/protocol/records.ts'
import {
  COMPLETE_MS,
  CONTROL_PATH,
  decodeDaemonMessage,
  decodeRelayMessage,
  DEVICE_PREFIX,
  IDLE_MS,
  LATE_MS,
  MAX_DEVICES_PER_PLACE,
  MAX_FRAME_BYTES,
  MAX_PLACES,
  PING_MS,
  RELAY_CLOSE,
  SEAT_PREFIX,
  TICKET_LENGTH,
} from '../../../src/relay/protocol/relay-wire.ts'
import { CHANNEL_WINDOW, MAX_STREAMS, STREAM_WINDOW } from '../../../src/relay/protocol/streams.ts'
import { example } from '../../helpers/protocol-example.ts'

const page = readFileSync(new URL('../../../docs/relay-protocol.md', import.meta.url), 'utf8')
const prose = page.replaceAll(/\s+/g, ' ')

/** The rows of a table, by the heading of its first two columns. */
function table(...columns: readonly string[]): string[][] {
  const [, rows = ''] = page.split(`| ${columns.join(' | ')} |\n`)
  const [body = ''] = rows.split('\n\n')
  return body
    .split('\n')
    .slice(1)
    .map((row) =>
      row
        .split('|')
        .map((cell) => cell.trim())
        .slice(1, -1),
    )
}

t.test('the page has every type of record, and who sends it', async (t) => {
  const rows = table('type', 'name', 'from', 'body').map(([type, name, from]) => [type, name, from])
  const hex = (type: number) => `0x${type.toString(16).padStart(2, '0')}`
  const from = (type: RecordType) => ONLY_FROM[type] ?? 'both'
  t.same(
    rows,
    Object.entries(RECORD).map(([name, type]) => [hex(type), name, from(type)]),
  )
})

t.test('the page has every reason and code of closing', async (t) => {
  t.same(
    table('reason', 'name', 'why the channel is closed').map(([code, name]) => [
      name,
      Number(code),
    ]),
    Object.entries(CHANNEL_CLOSE),
  )
  t.same(
    table('code', 'why the relay closes a connection').map(([code]) => Number(code)),
    Object.values(RELAY_CLOSE),
  )
})

t.test('the page has every message between daemon and relay', async (t) => {
  const rows = table('byte', 'from', 'kind', 'what follows')
  t.equal(rows.length, 7)
  for (const [byte, from, kind = ''] of rows) {
    const bodies = [0, PLACE_ID_LENGTH, PLACE_KEY_LENGTH].map((length) =>
      Uint8Array.from([Number(byte), ...Array.from({ length }, () => 1)]),
    )
    const decode = from === 'daemon' ? decodeDaemonMessage : decodeRelayMessage
    t.ok(
      bodies.some((body) => decode(body)?.kind === kind),
      kind,
    )
  }
  t.same(
    table('path', 'who', 'what').map(([path]) => path),
    [`\`${CONTROL_PATH}\``, `\`${DEVICE_PREFIX}<id>\``, `\`${SEAT_PREFIX}<id>/<ticket>\``],
  )
})

t.test('the numbers of the page are those of the code', async (t) => {
  const number = (value: number) => value.toLocaleString('en-US')
  for (const text of [
    `${OFFER_SECONDS / 60} minutes and for one device`,
    `has a **key** of ${PLACE_KEY_LENGTH} bytes and an **id**, the first ${PLACE_ID_LENGTH} bytes`,
    `has at most ${number(MAX_FRAME_BYTES)} bytes`,
    `1 to ${MAX_PLACES} place keys`,
    `a ticket of ${TICKET_LENGTH} bytes`,
    `within ${COMPLETE_MS / 1000} seconds`,
    `anything for ${IDLE_MS / 1000} seconds`,
    `Sent after ${PING_MS / 1000} seconds of silence`,
    `no record for ${IDLE_MS / 1000} seconds`,
    `that comes ${LATE_MS / 1000} seconds late or later`,
    `hold up for less than ${LATE_MS / 1000} seconds`,
    `At most ${MAX_DEVICES_PER_PLACE} devices`,
    `first message of Noise, ${FIRST_MESSAGE_LENGTH} bytes`,
    `with an empty payload, ${SECOND_MESSAGE_LENGTH} bytes`,
    `1 to ${MAX_NAME_BYTES} bytes`,
    `: ${RECORD_SIZES.slice(0, -1).join(', ')} or ${RECORD_SIZES.at(-1)} bytes`,
    `longest body has ${number(MAX_BODY_LENGTH)} bytes`,
    `at most ${MAX_STREAMS} are open at a time`,
    `: ${number(STREAM_WINDOW)} at first`,
    `never makes more than ${number(STREAM_WINDOW)}`,
    `of the channel: ${number(CHANNEL_WINDOW)} at first`,
    `never makes more than ${number(CHANNEL_WINDOW)}`,
    `a line of ${Math.ceil(CHANNEL_WINDOW / LATE_MS)} kB/s is fast enough`,
  ])
    t.ok(prose.includes(text), text)
})

t.test('the example of the page is what the code computes', async (t) => {
  const [, block = ''] = page.split('## 9. An example')
  const [, lines = ''] = block.split('```')
  const shown: Record<string, string> = {}
  let name = ''
  for (const line of lines.trim().split('\n'))
    if (line.startsWith('  ')) shown[name] = (shown[name] ?? '') + line.slice(2)
    else name = line
  t.same(shown, await example())
})
