/** When is a session over, for what was opened under it? */
import t from 'tap'
import { Session } from '../../src/identity/session.ts'

const END = 1_800_000_000_000

t.test('what hangs on a session is over at its end, and not a moment before', async (t) => {
  const session = new Session('a', 'browser', { subject: 'alice', endsAt: END })
  t.equal(session.isOver(END - 1, END - 5000), false)
  t.equal(session.isOver(END, END - 5000), true)
  t.equal(session.endedBy, undefined, 'an expiry is no ending')
  session.endsAt = END + 1000
  t.equal(session.isOver(END, END - 5000), false, 'a renewal moves the end')
  t.equal(session.isOver(END + 1000, END - 5000), true)
})

t.test('what was opened within the leeway lasts as long as the leeway', async (t) => {
  const session = new Session('a', 'program', { subject: 'ci', endsAt: END, graceMs: 30_000 })
  t.equal(session.acceptedUntil, END + 30_000)
  t.equal(session.isOver(END, END - 1), true, 'opened before the end')
  t.equal(session.isOver(END + 29_999, END), false, 'opened at the end, when the token was good')
  t.equal(session.isOver(END + 30_000, END), true)
})

t.test(
  'an ended session is over whatever the clock says, for the cause that came first',
  async (t) => {
    const session = new Session('a', 'browser', { subject: 'alice', endsAt: Infinity })
    t.equal(session.isOver(Number.MAX_SAFE_INTEGER, 0), false, 'it has no end of its own')
    session.end('revoked')
    session.end('expired')
    t.equal(session.endedBy, 'revoked')
    for (const clock of [0, END, Number.MAX_SAFE_INTEGER])
      t.equal(session.isOver(clock, clock), true)
    t.equal(session.lastSeenAt, 0)
  },
)
