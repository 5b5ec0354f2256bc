/** Which handshakes get remembered Basic credentials, and for how long? */
import { inspect } from 'node:util'
import * as fc from 'fast-check'
import t from 'tap'
import {
  BasicMemory,
  LENDING_MS,
  LOANS,
  REMEMBERED_SESSIONS,
} from '../../src/terminals/safari-password.ts'
import { Exchange } from '../../src/request/exchange.ts'
import type { Principal } from '../../src/identity/token.ts'
import { browserSession, principalOf } from '../helpers/principal.ts'

const BASIC = 'Basic dXNlcjpwYXNz'
const OTHER_BASIC = 'Basic dXNlcjpuZXc='

function principal(id: string, { subject = 'alice', endsAt = 10_000_000 } = {}): Principal {
  return principalOf(browserSession(id, { subject, endsAt }))
}

/** A request of a signed-in browser. */
function browser(session: Principal | string = 's1', overrides: Partial<Exchange> = {}): Exchange {
  const outcome = typeof session === 'string' ? principal(session) : session
  const credential = { kind: 'cookie', outcome } as const
  return Object.assign(new Exchange(), { credential, principal: outcome, ...overrides })
}

/** A memory with clocks that the test moves, in milliseconds. */
function startMemory() {
  const clock = { monotonic: 5_000_000, wall: 1_000_000 }
  const memory = new BasicMemory({ monotonic: () => clock.monotonic, wall: () => clock.wall })
  return {
    clock,
    memory,
    /** Lets the terminal respond to a request with these credentials. */
    answered: (status: number, exchange = browser(), authorization = BASIC) =>
      memory.watch(exchange, ['Host', 'x', 'Authorization', authorization])?.(status),
    /** The credentials that a handshake without any would get. */
    lent: (exchange = browser()) => memory.lend(exchange, ['Host', 'x'])?.authorization,
  }
}

t.test('accepted credentials are added byte for byte; refused ones are not', async (t) => {
  for (const [status, lends] of [
    [200, true],
    [204, true],
    [302, true],
    [399, true],
    [400, false],
    [401, false],
    [403, false],
    [404, false],
    [407, false],
    [500, false],
    [502, false],
  ] as const) {
    const { answered, lent, memory } = startMemory()
    t.equal(lent(), undefined, 'nothing before any answer')
    answered(status)
    t.equal(lent(), lends ? BASIC : undefined, `${status}`)
    t.equal(memory.size, lends ? 1 : 0)
  }
})

t.test('a request without a response proves nothing', async (t) => {
  const { memory, lent } = startMemory()
  t.type(memory.watch(browser(), ['Authorization', BASIC]), 'function')
  t.equal(lent(), undefined)
  t.equal(memory.size, 0)
})

t.test('a 401 forgets the session’s credentials; other refusals do not', async (t) => {
  const { answered, lent, memory } = startMemory()
  answered(200)
  for (const status of [400, 404, 500, 503]) answered(status)
  t.equal(lent(), BASIC)
  answered(401, browser('s2'))
  t.equal(lent(), BASIC, 'nor does a 401 of another session')
  memory.watch(browser(), ['Host', 'x'])?.(401)
  t.equal(lent(), BASIC, 'nor does a 401 to a request without credentials')
  answered(401, browser(), OTHER_BASIC)
  t.equal(lent(), undefined)
  t.equal(memory.size, 0)
})

t.test('credentials that are accepted later replace earlier ones', async (t) => {
  const { answered, lent, memory } = startMemory()
  answered(200)
  answered(200, browser(), OTHER_BASIC)
  t.equal(lent(), OTHER_BASIC)
  t.equal(memory.size, 1)

  const slow = memory.watch(browser(), ['Authorization', BASIC])
  answered(200, browser(), OTHER_BASIC)
  slow?.(200)
  t.equal(lent(), OTHER_BASIC, 'an answer that comes late does not bring the old ones back')
})

t.test('only Basic credentials in the form that browsers send are remembered', async (t) => {
  for (const [authorization, remembered, why] of [
    ['basic dXNlcjpwYXNz', true, 'the scheme is case-insensitive'],
    ['Basic  dXNlcjpwYXNz', true, 'the service has judged it'],
    ['Bearer dXNlcjpwYXNz', false, 'another scheme'],
    ['Basicx dXNlcjpwYXNz', false, 'another scheme'],
    ['x Basic dXNlcjpwYXNz', false, 'another scheme'],
    ['Basic', false, 'nothing in it'],
    ['Basic ', false, 'nothing in it'],
    ['Basic a b', false, 'two words'],
    ['', false, 'empty'],
    [`Basic ${'x'.repeat(1024 - 6)}`, true, 'as long as may be'],
    [`Basic ${'x'.repeat(1024 - 5)}`, false, 'longer'],
  ] as const) {
    const { answered, lent } = startMemory()
    answered(200, browser(), authorization)
    t.equal(lent() !== undefined, remembered, `${authorization.slice(0, 30)}: ${why}`)
  }
})

t.test(
  'only requests of browsers on a page of the workspace prove and get credentials',
  async (t) => {
    const others = {
      'a Bearer client': browser('s1', {
        credential: { kind: 'bearer', outcome: principal('s1') },
      }),
      'a program': browser('s1', { credential: { kind: 'header', outcome: principal('s1') } }),
      'nobody signed in': browser('s1', { credential: undefined, principal: undefined }),
      'a request that authentication did not pass': browser('s1', { principal: undefined }),
      'a foreign origin': browser('s1', { allowOrigin: 'https://other.example' }),
    }
    for (const [who, exchange] of Object.entries(others)) {
      const { memory, answered, lent } = startMemory()
      t.equal(memory.watch(exchange, ['Authorization', BASIC]), undefined, `${who} teaches nothing`)
      answered(200)
      t.equal(lent(exchange), undefined, `${who} is lent nothing`)
      t.equal(lent(), BASIC)
    }
  },
)

t.test('a handshake with its own Authorization gets no credentials', async (t) => {
  const { memory, answered } = startMemory()
  answered(200)
  for (const own of ['Basic eDp5', BASIC, 'Bearer x', ''])
    t.equal(memory.lend(browser(), ['authorization', own]), undefined, own)
})

t.test('after each acceptance, ten handshakes get the credentials, and then none', async (t) => {
  t.equal(LOANS, 10)
  const { answered, lent, memory } = startMemory()
  answered(200, browser('s2'))
  for (let round = 0; round < 3; round++) {
    answered(200)
    answered(200) // two acceptances in a row do not double the number
    const loans = Array.from({ length: 20 }, () => lent())
    t.same(loans.filter((one) => one !== undefined).length, 10)
    t.equal(loans[10], undefined)
    t.equal(memory.size, 1)
  }
  t.equal(lent(browser('s2')), BASIC, 'another session has its own')
})

t.test('a session gets no credentials of another session, not even of the same user', async (t) => {
  const { answered, lent } = startMemory()
  answered(200)
  t.equal(lent(browser('s2')), undefined, 'another token of the same person')
  t.equal(lent(browser(principal('s3', { subject: 'eve' }))), undefined)
  answered(200, browser('s2'), OTHER_BASIC)
  t.equal(lent(), BASIC)
  t.equal(lent(browser('s2')), OTHER_BASIC)
})

t.test(
  'credentials are kept for minutes after the last acceptance, whatever the wall clock does',
  async (t) => {
    const { clock, answered, lent, memory } = startMemory()
    answered(200)
    clock.monotonic += LENDING_MS - 1
    t.equal(lent(), BASIC)
    clock.wall -= 500_000
    clock.monotonic += 1
    t.equal(lent(), undefined)
    t.equal(memory.size, 1)
    memory.check(clock.monotonic - 1, clock.wall)
    t.equal(memory.size, 1, 'tidied up no sooner')
    memory.check(clock.monotonic, clock.wall)
    t.equal(memory.size, 0, 'and no later')

    answered(200)
    clock.monotonic += LENDING_MS - 1
    answered(302)
    clock.monotonic += LENDING_MS - 1
    t.equal(lent(), BASIC, 'each acceptance begins anew')
    clock.monotonic += 1
    t.equal(lent(), undefined, 'lending does not')
  },
)

t.test('credentials are forgotten when the session’s token expires', async (t) => {
  const { clock, answered, lent, memory } = startMemory()
  answered(200, browser(principal('s1', { endsAt: 1_010_000 })))
  answered(200, browser('s2'))
  clock.wall = 1_009_999
  t.equal(lent(), BASIC)
  memory.check(clock.monotonic, clock.wall)
  t.equal(memory.size, 2)
  clock.wall = 1_010_000
  t.equal(lent(), undefined)
  memory.check(clock.monotonic, clock.wall)
  t.equal(memory.size, 1, 'nor is it kept')
  t.equal(lent(browser('s2')), BASIC)
})

t.test('an ended session is forgotten, also for responses that arrive later', async (t) => {
  const { answered, lent, memory } = startMemory()
  const ending = principal('s1')
  answered(200, browser(ending))
  answered(200, browser('s2'))
  const underWay = memory.watch(browser(ending), ['Authorization', BASIC])
  ending.session.end('signed-out')
  t.equal(lent(browser(ending)), undefined, 'at once')
  t.equal(memory.size, 2)
  memory.forgetEnded()
  t.equal(memory.size, 1, 'nor is it kept')
  t.equal(lent(browser('s2')), BASIC)
  underWay?.(200)
  t.equal(memory.size, 1, 'the answer to a request from before')
  t.equal(lent(browser(ending)), undefined)
})

t.test(
  'credentials that the terminal refuses are forgotten, but not a newer acceptance',
  async (t) => {
    const { answered, lent, memory } = startMemory()
    answered(200)
    memory.lend(browser(), [])?.refused()
    t.equal(lent(), undefined)
    t.equal(memory.size, 0)

    answered(200)
    const loan = memory.lend(browser(), [])
    answered(200, browser(), OTHER_BASIC)
    loan?.refused()
    t.equal(lent(), OTHER_BASIC)

    answered(200, browser('s2'))
    const again = memory.lend(browser('s2'), [])
    again?.refused()
    again?.refused()
    t.equal(lent(), OTHER_BASIC, 'nor another session')
  },
)

t.test(
  'the number of sessions is limited; the one accepted longest ago is removed first',
  async (t) => {
    const { answered, lent, memory } = startMemory()
    for (let i = 0; i < REMEMBERED_SESSIONS; i++) answered(200, browser(`s${i}`))
    answered(200, browser('s1'), OTHER_BASIC)
    t.equal(memory.size, REMEMBERED_SESSIONS)
    t.equal(lent(browser('s0')), BASIC, 'an acceptance of one that is known takes nobody’s place')
    answered(200, browser('new'))
    t.equal(memory.size, REMEMBERED_SESSIONS)
    t.equal(lent(browser('s0')), undefined)
    t.equal(lent(browser('s1')), OTHER_BASIC)
    t.equal(lent(browser('s2')), BASIC)
    t.equal(lent(browser('new')), BASIC)
  },
)

t.test('printing the memory shows no credentials', async (t) => {
  const { memory, answered } = startMemory()
  answered(200)
  const printed = inspect(memory, { showHidden: true, depth: 9 }) + JSON.stringify(memory)
  t.notMatch(printed, 'dXNlcjpwYXNz')
})

/** The possible events, in any order. `request` and `answer` are separate, as on the wire. */
const sessionNumber = fc.nat(3)
const events = fc.array(
  fc.oneof(
    {
      weight: 4,
      arbitrary: fc.record({
        kind: fc.constant('request' as const),
        session: sessionNumber,
        password: fc.nat(2),
      }),
    },
    {
      weight: 4,
      arbitrary: fc.record({
        kind: fc.constant('answer' as const),
        which: fc.nat(8),
        status: fc.constantFrom(200, 200, 302, 401, 404, 502),
      }),
    },
    fc.record({ kind: fc.constant('refuse' as const), session: sessionNumber }),
    fc.record({ kind: fc.constant('end' as const), session: sessionNumber }),
    fc.record({
      kind: fc.constant('wait' as const),
      ms: fc.constantFrom(1, 1000, LENDING_MS / 2, LENDING_MS),
    }),
    fc.record({ kind: fc.constant('check' as const) }),
  ),
  { maxLength: 60, size: 'max' },
)

t.test(
  'in any order of events, a session gets only its own, recently accepted credentials',
  async (t) => {
    let loans = 0
    fc.assert(
      fc.property(events, (list) => {
        const { clock, memory, lent } = startMemory()
        const sent: Array<{
          session: number
          password: number
          by: Principal | undefined
          answer: (status: number) => void
        }> = []
        /** For each session, the acceptances that can still be valid. */
        const accepted = new Map<number, Array<{ password: number; until: number }>>()
        /** Who is signed in at present; an ended session is followed by a new one. */
        let ended = 0
        const people = [0, 1, 2, 3].map((session) => principal(`s${session}`))
        const browserOf = (session: number) => browser(people[session])
        for (const event of list) {
          if (event.kind === 'request') {
            const { session, password } = event
            const fields = ['Authorization', `Basic ${session}-${password}`]
            const answer = memory.watch(browserOf(session), fields)
            if (answer === undefined) throw new Error('not watched')
            sent.push({ session, password, by: people[session], answer })
          } else if (event.kind === 'answer') {
            const [request] = sent.splice(event.which % Math.max(1, sent.length), 1)
            if (request === undefined) continue
            request.answer(event.status)
            const { session, password, by } = request
            if (by !== people[session]) continue
            if (event.status === 401) accepted.delete(session)
            if (event.status >= 400) continue
            const until = clock.monotonic + LENDING_MS
            accepted.set(session, [...(accepted.get(session) ?? []), { password, until }])
          } else if (event.kind === 'refuse') {
            memory.lend(browserOf(event.session), [])?.refused()
            if (lent(browserOf(event.session)) !== undefined) return false
            accepted.delete(event.session)
          } else if (event.kind === 'end') {
            people[event.session]?.session.end('revoked')
            if (lent(browserOf(event.session)) !== undefined) return false
            memory.forgetEnded()
            accepted.delete(event.session)
            people[event.session] = principal(`s${event.session}-${++ended}`)
          } else if (event.kind === 'wait') {
            clock.monotonic += event.ms
            clock.wall += event.ms
          } else memory.check(clock.monotonic, clock.wall)
          if (memory.size > 4) return false
          for (const session of [0, 1, 2, 3]) {
            const loan = lent(browserOf(session))
            if (loan === undefined) continue
            loans++
            if (clock.wall >= 10_000_000) return false
            const fits = ({ password, until }: { password: number; until: number }) =>
              loan === `Basic ${session}-${password}` && clock.monotonic < until
            if (accepted.get(session)?.some(fits) !== true) return false
          }
        }
        return true
      }),
      { numRuns: 500 },
    )
    t.ok(loans > 1000, `${loans} loans were looked at`)
  },
)

t.test(
  'in any order of events, the number of sessions is limited, and none is stale',
  async (t) => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(5000), fc.nat(2000)), {
          minLength: 100,
          maxLength: 1500,
          size: 'max',
        }),
        (visits) => {
          const { clock, memory, answered } = startMemory()
          for (const [session, ms] of visits) {
            clock.monotonic += ms
            answered(200, browser(`s${session}`))
            if (memory.size > REMEMBERED_SESSIONS) return false
          }
          memory.check(clock.monotonic, clock.wall)
          const since = (at: number) => visits.slice(at + 1).reduce((sum, [, ms]) => sum + ms, 0)
          const fresh = new Set(
            visits.filter((_, at) => since(at) < LENDING_MS).map(([session]) => session),
          )
          return memory.size <= fresh.size
        },
      ),
      { numRuns: 10 },
    )
    t.pass()
  },
)
