/** May a caller do an action? Sessions, sign-ins that are fresh or old, programs and API tokens in one table. */
import t from 'tap'
import { callerName, MACHINE, refusalOf, type Caller } from '../../src/admin/caller.ts'
import { Session } from '../../src/identity/session.ts'
import type { Principal } from '../../src/identity/token.ts'

const NOW = Date.parse('2026-11-28T12:00:00Z')
const MINUTE = 60_000

/** A caller with a session of some kind, who signed in some minutes ago. */
function caller(
  kind: Session['kind'],
  { subject = 'alice', minutes = 0, isBrowser = kind === 'browser' } = {},
): Caller {
  const session = new Session('id', kind, { subject, endsAt: Infinity })
  const principal = {
    ...{ subject, session, acceptedUntil: Infinity, key: undefined, ticketId: undefined },
    apiToken: kind === 'api-token' ? { id: 't', name: 'ci', session } : undefined,
    authenticatedAt: Number.isNaN(minutes) ? undefined : NOW - minutes * MINUTE,
  } as Principal
  return { door: 'api', principal, isBrowser, address: '203.0.113.9' }
}

const SELF = { who: 'self', isAct: false } as const
const READ = { who: 'owner', isAct: false } as const
const ACT = { who: 'owner', isAct: true } as const

t.test('who may do what', async (t) => {
  const rows: Array<[who: string, caller: Caller, self: string, read: string, act: string]> = [
    ['the machine', MACHINE, '', '', ''],
    ['a browser that just signed in', caller('browser'), '', '', ''],
    ['… ten minutes ago', caller('browser', { minutes: 10 }), '', '', ''],
    ['… longer ago', caller('browser', { minutes: 10.01 }), '', '', 'step-up-required'],
    ['… far in the future', caller('browser', { minutes: -11 }), '', '', 'step-up-required'],
    ['… at no known time', caller('browser', { minutes: NaN }), '', '', 'step-up-required'],
    ['a ticket in the cookie', caller('program', { isBrowser: true }), '', '', ''],
    ['a program', caller('program'), '', 'scope-missing', 'scope-missing'],
    ['an API token', caller('api-token', { minutes: NaN }), '', '', 'step-up-required'],
    ['… whatever it says', caller('api-token'), '', '', 'step-up-required'],
    ['another person', caller('browser', { subject: 'bob' }), '', 'scope-missing', 'scope-missing'],
    [
      'their API token',
      caller('api-token', { subject: 'bob' }),
      '',
      'scope-missing',
      'scope-missing',
    ],
  ]
  for (const [who, one, ...expected] of rows)
    t.same(
      [SELF, READ, ACT].map(
        (action) => refusalOf(action, one, ['carol', 'alice'], NOW)?.code ?? '',
      ),
      expected,
      who,
    )
  t.equal(
    refusalOf(READ, caller('browser', { subject: 'bob' }), [], NOW),
    undefined,
    'no list: everybody',
  )
  t.match(
    refusalOf(READ, caller('browser', { subject: 'bob' }), ['alice'], NOW)?.detail,
    'GATEWAY_OWNERS',
  )
})

t.test('what is the machine’s alone is nobody else’s', async (t) => {
  const machines = { who: 'machine', isAct: false } as const
  t.equal(refusalOf(machines, MACHINE, [], NOW), undefined)
  for (const kind of ['browser', 'program', 'api-token'] as const)
    t.match(refusalOf(machines, caller(kind), [], NOW), { code: 'scope-missing' })
})

t.test('the log names an API token by its name, and the machine', async (t) => {
  t.same([MACHINE, caller('browser'), caller('api-token')].map(callerName), [
    'machine',
    'alice',
    'ci',
  ])
})
