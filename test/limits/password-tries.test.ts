/** Does each wrong guess at the terminal's password, and nothing else, spend the budget of the address? */
import { inspect } from 'node:util'
import t from 'tap'
import {
  ACCEPTED_SESSIONS,
  PasswordTries,
  type PasswordTry,
} from '../../src/limits/password-tries.ts'

const GOOD = 'Basic dXNlcjpnb29k'
const WRONG = 'Basic dXNlcjp3cm9uZw=='

/** A budget of so many tries. */
function budgetOf(limit: number) {
  let used = 0
  return {
    left: () => limit - used,
    take() {
      used++
      return used <= limit
    },
    giveBack: () => void used--,
  }
}

function assertBegun(attempt: PasswordTry | undefined): PasswordTry {
  if (attempt === undefined) throw new Error('no try was left')
  return attempt
}

t.test('only a password that the terminal refuses stays paid for', async (t) => {
  const rows: Array<[status: number, left: number]> = [
    [200, 3],
    [302, 3],
    [304, 3],
    [401, 2],
    [404, 3],
    [500, 3],
    [502, 3],
  ]
  for (const [status, left] of rows) {
    const tries = new PasswordTries()
    const budget = budgetOf(3)
    const attempt = assertBegun(tries.begin('s1', WRONG, budget))
    t.equal(budget.left(), 2, 'paid before the terminal is asked')
    attempt.settleBy(status)
    t.equal(budget.left(), left, `${status}`)
    attempt.settleBy(200)
    t.equal(budget.left(), left, 'once')
  }
})

t.test('concurrent tries are not free, nor is a try without a response', async (t) => {
  const tries = new PasswordTries()
  const budget = budgetOf(3)
  for (let i = 0; i < 3; i++) assertBegun(tries.begin('s1', `Basic ${i}`, budget))
  t.equal(tries.begin('s1', WRONG, budget), undefined)
  t.equal(tries.begin('s2', WRONG, budget), undefined, 'in whatever session')
})

t.test(
  'a password that was accepted from a session is no guess there, as long as it is accepted',
  async (t) => {
    const tries = new PasswordTries()
    assertBegun(tries.begin('s1', GOOD, budgetOf(1))).settle(true)
    const none = budgetOf(0)
    const again = assertBegun(tries.begin('s1', GOOD, none))
    t.equal(tries.begin('s1', WRONG, budgetOf(0)), undefined, 'another password is')
    t.equal(tries.begin('s2', GOOD, budgetOf(0)), undefined, 'and another session')
    again.settle(undefined)
    t.ok(tries.begin('s1', GOOD, none), 'an answer that says nothing changes nothing')
    const budget = budgetOf(5)
    assertBegun(tries.begin('s1', GOOD, budget)).settle(false)
    t.equal(budget.left(), 4, 'a refusal costs all the same')
    t.equal(
      tries.begin('s1', GOOD, budgetOf(0)),
      undefined,
      'and ends it: the password was changed',
    )
  },
)

t.test('only success and redirects prove that a password was accepted', async (t) => {
  for (const [status, isProof] of [
    [101, false],
    [199, false],
    [200, true],
    [302, true],
    [399, true],
    [400, false],
    [404, false],
    [500, false],
  ] as const) {
    const tries = new PasswordTries()
    assertBegun(tries.begin('s1', GOOD, budgetOf(1))).settleBy(status)
    t.equal(tries.size, isProof ? 1 : 0, `${status}`)
  }
})

t.test('a wrong password does not remove the accepted one', async (t) => {
  const tries = new PasswordTries()
  assertBegun(tries.begin('s1', GOOD, budgetOf(1))).settle(true)
  assertBegun(tries.begin('s1', WRONG, budgetOf(1))).settle(false)
  t.ok(tries.begin('s1', GOOD, budgetOf(0)))
})

t.test('a request that has spent from the address’s budget spends no second time', async (t) => {
  const tries = new PasswordTries()
  for (const isAccepted of [false, undefined, true])
    assertBegun(tries.begin('s1', GOOD, undefined)).settle(isAccepted)
  t.ok(tries.begin('s1', GOOD, budgetOf(0)), 'and what it proved counts')
})

t.test('memory is bounded, and contains no password', async (t) => {
  const tries = new PasswordTries()
  for (let i = 0; i <= ACCEPTED_SESSIONS; i++)
    assertBegun(tries.begin(`s${i}`, GOOD, budgetOf(1))).settle(true)
  t.equal(ACCEPTED_SESSIONS, 1000)
  t.equal(tries.size, 1000)
  t.equal(tries.begin('s0', GOOD, budgetOf(0)), undefined, 'the oldest made room')
  t.ok(tries.begin('s1000', GOOD, budgetOf(0)))
  t.notMatch(inspect(tries, { depth: 9, showHidden: true }) + JSON.stringify(tries), 'dXNlcjpnb29k')
})
