/** May a user take one more, and when? Checked against counting moment by moment. */
import * as fc from 'fast-check'
import t from 'tap'
import { PROVISION, type LimitPolicy } from '../../src/config/limit-policies.ts'
import { hasRoom, msUntilRoom, windowStates } from '../../src/fleet/windows.ts'
import { policyOf } from '../helpers/limit-policy.ts'

const HOUR = 3_600_000
const NOW = 1_800_000_000_000

/** What counts now, from how long ago each grant was taken, in milliseconds. */
function taken(...ages: readonly number[]) {
  const grants = ages.toSorted((a, b) => b - a).map((age, i) => ({ id: String(i), at: NOW - age }))
  return { now: NOW, grants }
}

t.test('the built-in policy: one in an hour, three in a day', async (t) => {
  const rows: ReadonlyArray<
    readonly [ages: readonly number[], left: readonly number[], wait: number]
  > = [
    [[], [1, 3], 0],
    [[0], [0, 2], HOUR],
    [[HOUR - 1], [0, 2], 1],
    [[HOUR], [1, 2], 0],
    [[3 * HOUR, 2 * HOUR, HOUR], [1, 0], 21 * HOUR],
    [[3 * HOUR, 2 * HOUR, 1], [0, 0], 21 * HOUR],
    [[23.5 * HOUR, 2 * HOUR, 1], [0, 0], HOUR - 1],
    [[24 * HOUR, 2 * HOUR, HOUR], [1, 1], 0],
  ]
  for (const [ages, left, wait] of rows) {
    const states = windowStates(PROVISION, taken(...ages))
    t.same(
      states.map((state) => state.left),
      left,
      String(ages),
    )
    t.equal(hasRoom(states), !left.includes(0))
    t.equal(msUntilRoom(states), wait)
  }
})

t.test('a window has the name of its policy, with its length when there are more', async (t) => {
  const names = (policy: LimitPolicy) => windowStates(policy, taken()).map(({ name }) => name)
  t.same(names(PROVISION), ['provision-3600', 'provision-86400'])
  t.same(names(policyOf('mail', [[5, 60]])), ['mail'])
})

t.test('a window tells what it is, and when it has one more point', async (t) => {
  t.same(windowStates(PROVISION, taken(2 * HOUR, 0)), [
    { name: 'provision-3600', points: 1, seconds: 3600, used: 1, left: 0, nextMs: HOUR },
    { name: 'provision-86400', points: 3, seconds: 86_400, used: 2, left: 1, nextMs: 22 * HOUR },
  ])
  t.same(windowStates(PROVISION, taken())[0], {
    ...{ name: 'provision-3600', points: 1, seconds: 3600, used: 0, left: 1, nextMs: 0 },
  })
})

t.test(
  'more may be used than there are points, when a policy had more of them before',
  async (t) => {
    const [state] = windowStates(policyOf('less', [[2, 10]]), taken(9000, 8000, 7000, 6000))
    t.match(
      state,
      { used: 4, left: 0, nextMs: 3000 },
      'room comes when three of the four have left',
    )
  },
)

/** Windows so short that every moment can be tried. */
const POLICIES = fc
  .uniqueArray(fc.tuple(fc.integer({ min: 1, max: 4 }), fc.integer({ min: 1, max: 6 })), {
    ...{ minLength: 1, maxLength: 4, selector: ([, seconds]) => seconds },
  })
  .map((windows) => policyOf('any', windows))

const USAGES = fc
  .array(fc.integer({ min: 0, max: 7000 }), { maxLength: 8 })
  .map((ages) => taken(...ages))

t.test('what is told of any usage is what counting moment by moment finds', async (t) => {
  fc.assert(
    fc.property(POLICIES, USAGES, (policy, usage) => {
      const states = windowStates(policy, usage)
      /** The points that are left in a window after some time in which nothing is taken. */
      const leftAfter = (ms: number) =>
        policy.windows.map(({ points, seconds }) => {
          const used = usage.grants.filter(({ at }) => NOW + ms - at < seconds * 1000).length
          return { used, left: points > used ? points - used : 0 }
        })
      const atOnce = leftAfter(0)
      const moments = [
        0,
        ...usage.grants.flatMap(({ at }) =>
          policy.windows.map(({ seconds }) => at + seconds * 1000 - NOW),
        ),
      ]
        .filter((ms) => ms >= 0)
        .toSorted((a, b) => a - b)
      states.forEach(({ used, left, nextMs }, i) => {
        if (used !== atOnce[i]?.used || left !== atOnce[i].left) throw new Error('count')
        const next = moments.find((ms) => (leftAfter(ms)[i]?.left ?? 0) > left) ?? 0
        if (nextMs !== next) throw new Error(`next ${nextMs}, and not ${next}`)
      })
      const wait = moments.find((ms) => leftAfter(ms).every((window) => window.left > 0))
      if (msUntilRoom(states) !== wait) throw new Error(`wait ${msUntilRoom(states)}, not ${wait}`)
      if (hasRoom(states) !== (wait === 0)) throw new Error('room')
    }),
    { numRuns: 2000 },
  )
  t.pass()
})

t.test(
  'who asks at any moments never has more than there are points in any such time',
  async (t) => {
    const waits = fc.array(fc.integer({ min: 0, max: 3000 }), { maxLength: 60 })
    fc.assert(
      fc.property(POLICIES, waits, (policy, pauses) => {
        const grants: { id: string; at: number }[] = []
        let now = NOW
        for (const pause of pauses) {
          now += pause
          const states = windowStates(policy, { now, grants })
          if (hasRoom(states)) grants.push({ id: String(now), at: now })
          else {
            const at = now + msUntilRoom(states)
            const before = windowStates(policy, { now: at - 1, grants })
            if (hasRoom(before) || !hasRoom(windowStates(policy, { now: at, grants })))
              throw new Error('the wait is not true to the millisecond')
          }
        }
        for (const { points, seconds } of policy.windows)
          for (const { at: from } of grants) {
            const inside = grants.filter(({ at }) => at >= from && at < from + seconds * 1000)
            if (inside.length > points) throw new Error(`${inside.length} in ${seconds} s`)
          }
      }),
      { numRuns: 1000 },
    )
    t.pass()
  },
)
