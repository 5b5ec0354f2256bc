/** What does the gateway say in a terminal, and when? */
import t from 'tap'
import { RESTARTING, SESSION_ENDED } from '../../src/answers/close-reasons.ts'
import { TerminalLines } from '../../src/sockets/terminal-lines.ts'
import { Session, type SessionKind } from '../../src/identity/session.ts'

const ORIGIN = 'https://houston.hubify.com'
const MINUTE = 60_000
const END = 100 * MINUTE

function start({
  kind = 'browser',
  endsAt = END,
  isKept = false,
}: { kind?: SessionKind; endsAt?: number; isKept?: boolean } = {}) {
  const session = new Session('s1', kind, { subject: 'alice', endsAt })
  const lines = new TerminalLines(ORIGIN, session, isKept)
  /** The text of the reminder at a time. */
  const reminder = (wallClock: number, isQuiet = true) => textOf(lines.reminder(wallClock, isQuiet))
  return { session, lines, reminder }
}

/** The text of a message that ttyd's page prints. */
function textOf(message: Buffer | undefined): string | undefined {
  if (message === undefined) return undefined
  const payload = message.subarray(message[1] === 126 ? 4 : 2).toString()
  return /^0\r\n(.*)\r\n$/.exec(payload)?.[1] ?? `not a line: ${payload}`
}

t.test('a terminal says why it closes, if that is of use to the person', async (t) => {
  const { lines } = start()
  t.equal(
    textOf(lines.farewell(SESSION_ENDED)),
    'Your session has ended. Sign in again at https://houston.hubify.com/_gateway/sign-in',
  )
  t.equal(
    textOf(lines.farewell(RESTARTING)),
    "The workspace's door restarts. Reconnect in a few seconds.",
  )
  t.equal(
    textOf(start({ isKept: true }).lines.farewell(RESTARTING)),
    "The workspace's door restarts. Your shell is kept unless the whole workspace stops. If this page does not come back by itself, press Enter or reload it.",
  )
  t.equal(lines.farewell({ code: 1011, reason: 'protocol error' }), undefined)
})

t.test('ten minutes before the end a browser’s terminal says so, once', async (t) => {
  const { reminder } = start()
  t.equal(reminder(END - 10 * MINUTE - 1), undefined)
  t.equal(
    reminder(END - 10 * MINUTE),
    'Your session ends in 10 minutes. Stay signed in: https://houston.hubify.com/_gateway/renew',
  )
  for (const left of [10, 9, 1, 0]) t.equal(reminder(END - left * MINUTE), undefined)
})

t.test('after a renewal it says so again, ten minutes before the new end', async (t) => {
  const { session, reminder } = start()
  t.type(reminder(END - 10 * MINUTE), 'string')
  session.endsAt = END + 60 * MINUTE
  t.equal(reminder(END - MINUTE), undefined)
  t.equal(reminder(END + 49 * MINUTE), undefined)
  t.match(reminder(END + 50 * MINUTE), /in 10 minutes/)
  t.equal(reminder(END + 51 * MINUTE), undefined)
})

t.test('a terminal that opens in the last minutes says how many are left, once', async (t) => {
  for (const [left, words] of [
    [9.6, 'in 10 minutes'],
    [3.2, 'in 3 minutes'],
    [1, 'in a minute'],
    [0.1, 'in a minute'],
  ] as const) {
    const { reminder } = start()
    t.match(reminder(END - left * MINUTE), words)
    t.equal(reminder(END - left * MINUTE), undefined)
  }
})

t.test(
  'a terminal that prints without a pause is interrupted only in the last five minutes',
  async (t) => {
    const { reminder } = start()
    for (const left of [10, 8, 5.1]) t.equal(reminder(END - left * MINUTE, false), undefined)
    t.match(reminder(END - 5 * MINUTE, false), /in 5 minutes/)
    const other = start()
    t.equal(other.reminder(END - 9 * MINUTE, false), undefined)
    t.match(other.reminder(END - 8 * MINUTE), /in 8 minutes/, 'the first pause is taken')
  },
)

t.test('programs are not reminded', async (t) => {
  for (const kind of ['program', 'api-token'] as const) {
    t.equal(start({ kind }).reminder(END - MINUTE), undefined)
    t.equal(start({ kind, endsAt: Infinity }).reminder(END), undefined)
  }
})
