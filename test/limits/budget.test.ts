/** How many requests may an address or a session make, and do the fields of the response tell the truth about that? */
import * as fc from 'fast-check'
import { RateLimiterRes, RateLimiterUnion } from 'rate-limiter-flexible'
import t from 'tap'
import { budgetWindow, SlidingWindowLimiter, type BudgetOptions } from '../../src/limits/budget.ts'
import { rateLimitFields, retryAfterSeconds } from '../../src/limits/budget-fields.ts'

/** A clock that a test moves, in milliseconds. */
function clock(start = 1_000_000) {
  const state = { ms: start }
  return {
    state,
    now: () => state.ms,
    wait: (ms: number) => {
      state.ms += ms
    },
  }
}

function limiter(options: Partial<BudgetOptions> = {}): SlidingWindowLimiter {
  return new SlidingWindowLimiter({ limit: 10, windowSeconds: 60, capacity: 1000, ...options })
}

/** Whether one request passes. */
function passes(from: SlidingWindowLimiter, key = 'a', sharedKey?: string): boolean {
  return from.take(key, sharedKey).consumedPoints <= from.limit
}

/** How many of so many requests pass. */
function passing(from: SlidingWindowLimiter, count: number, key = 'a', sharedKey?: string): number {
  let passed = 0
  for (let i = 0; i < count; i++) if (passes(from, key, sharedKey)) passed++
  return passed
}

t.test('ten requests pass and the eleventh does not, however they are spread', async (t) => {
  const { now, wait } = clock()
  const subject = limiter({ now })
  const results = Array.from({ length: 11 }, () => {
    wait(1000)
    return subject.take('a')
  })
  t.same(
    results.map(({ consumedPoints, remainingPoints }) => [consumedPoints, remainingPoints]),
    [
      [1, 9],
      [2, 8],
      [3, 7],
      [4, 6],
      [5, 5],
      [6, 4],
      [7, 3],
      [8, 2],
      [9, 1],
      [10, 0],
      [11, 0],
    ],
  )
  t.equal(passing(subject, 100), 0)
  t.equal(passing(subject, 11, 'b'), 10, 'another key has a budget of its own')
})

t.test(
  'the window slides: each request leaves it 60 s after it was made, to the millisecond',
  async (t) => {
    const { now, wait } = clock()
    const subject = limiter({ now })
    for (let i = 0; i < 10; i++) {
      t.ok(passes(subject))
      wait(7)
    }
    wait(60_000 - 70 - 1)
    t.notOk(passes(subject), 'a millisecond too early')
    wait(1)
    t.ok(passes(subject), 'the first one has left')
    t.notOk(passes(subject), 'the second one has not')
    for (let i = 0; i < 9; i++) {
      wait(6)
      t.notOk(passes(subject))
      wait(1)
      t.ok(passes(subject))
    }
  },
)

t.test('a key with a limit of its own has that limit, beside keys with others', async (t) => {
  const { now, wait } = clock()
  const subject = limiter({ now })
  const taken = (key: string, limit: number) => subject.take(key, key, 1, limit)
  for (const limit of [1, 3, 700]) {
    const key = `a${limit}`
    for (let i = 1; i <= limit; i++)
      t.match(taken(key, limit), { consumedPoints: i, remainingPoints: limit - i })
    wait(1000)
    const refused = taken(key, limit)
    t.equal(refused.consumedPoints, limit + 1)
    t.equal(refused.msBeforeNext, 59_000)
    t.same(rateLimitFields([budgetWindow('token', subject, refused, limit)]), [
      '"token";r=0;t=59',
      `"token";q=${limit};w=60`,
    ])
  }
  wait(59_000)
  t.equal(taken('a1', 1).consumedPoints, 1)
})

t.test('a request that is given back costs nothing, and the others stay', async (t) => {
  const { now, wait } = clock()
  const subject = limiter({ limit: 3, now })
  t.equal(passing(subject, 1), 1)
  wait(30_000)
  for (let i = 0; i < 20; i++) {
    const { result, giveBack } = subject.borrow('a')
    t.equal(result.remainingPoints, 1)
    giveBack()
  }
  const old = subject.borrow('a')
  t.equal(passing(subject, 5), 1)
  const refused = subject.borrow('a')
  t.equal(refused.result.consumedPoints, 4)
  refused.giveBack()
  t.notOk(passes(subject), 'nothing was taken that could come back')
  wait(30_000)
  t.equal(passing(subject, 5), 1, 'the one that was older leaves first')
  wait(30_000)
  t.equal(passing(subject, 1), 1)
  old.giveBack()
  t.equal(passing(subject, 9), 1, 'what has left the window is not given back once more')
})

t.test('a request that is given back late uncounts none that was made meanwhile', async (t) => {
  // Else a slow request would lend its early time to what came after it: more than the limit within a minute.
  const { now, wait } = clock()
  const subject = limiter({ limit: 10, now })
  const slow = Array.from({ length: 5 }, () => subject.borrow('a'))
  wait(59_000)
  t.equal(passing(subject, 9), 5, 'guesses')
  for (const { giveBack } of slow) giveBack()
  t.equal(passing(subject, 9), 5, 'ten in a minute')
  wait(1000)
  t.equal(passing(subject, 9), 0, 'which still count when the slow ones would not')
  wait(59_000)
  t.equal(passing(subject, 20), 10)
})

t.test('requests that share a timestamp are given back one by one', async (t) => {
  const { now } = clock()
  const subject = limiter({ limit: 2000, now })
  const borrowed = Array.from({ length: 2001 }, () => subject.borrow('a'))
  t.equal(borrowed[1999]?.result.remainingPoints, 0)
  for (const { giveBack } of borrowed.slice(200, 1700)) giveBack()
  t.equal(passing(subject, 2000), 1500)
})

t.test('a request is given back to a shared budget too', async (t) => {
  const { now } = clock()
  const subject = limiter({ limit: 1, capacity: 1, now })
  t.ok(passes(subject, 'known'))
  const { giveBack } = subject.borrow('a', 'both')
  t.notOk(passes(subject, 'b', 'both'))
  giveBack()
  t.ok(passes(subject, 'a', 'both'))
  t.notOk(passes(subject, 'known'), 'nobody else gets it')
})

t.test('twice the limit does not pass around the boundary of a fixed window', async (t) => {
  const { now, wait } = clock(0)
  const subject = limiter({ now })
  wait(59_900)
  t.equal(passing(subject, 20), 10)
  wait(200)
  t.equal(passing(subject, 20), 0)
})

t.test(
  'refused requests are not counted, so that repeating them does not lengthen the wait',
  async (t) => {
    const { now, wait } = clock()
    const subject = limiter({ now })
    passing(subject, 10)
    for (let i = 0; i < 59; i++) {
      wait(1000)
      t.equal(passing(subject, 100), 0)
    }
    wait(1000)
    t.equal(passing(subject, 100), 10)
  },
)

/** A schedule: pauses in milliseconds between requests. */
const pauses = fc.array(fc.oneof(fc.nat(50), fc.nat(3000), fc.nat(70_000)), { maxLength: 120 })
const limits = fc.oneof(fc.integer({ min: 1, max: 20 }), fc.integer({ min: 1, max: 2000 }))
const windows = fc.constantFrom(1, 2, 60, 3600)

t.test('never more than the limit in any window, for any schedule and limit', async () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 30 }),
      windows,
      pauses,
      (limit, windowSeconds, schedule) => {
        const { state, now, wait } = clock()
        const subject = limiter({ limit, windowSeconds, now })
        const passed: number[] = []
        for (const pause of schedule) {
          wait(pause)
          for (let burst = 0; burst < 3; burst++) if (passes(subject)) passed.push(state.ms)
        }
        return passed.every(
          (time, i) => time - (passed[i - limit] ?? -Infinity) >= windowSeconds * 1000,
        )
      },
    ),
    { numRuns: 300 },
  )
})

t.test('never more than a large limit either, whose requests share timestamps', async () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 601, max: 2000 }),
      fc.array(fc.nat(40), { minLength: 10, maxLength: 40 }),
      (limit, schedule) => {
        const { state, now, wait } = clock()
        const subject = limiter({ limit, windowSeconds: 1, now })
        const passed: number[] = []
        for (let round = 0; round < 3; round++) {
          for (const pause of schedule) {
            wait(pause)
            for (let burst = 0; burst < 60; burst++) if (passes(subject)) passed.push(state.ms)
          }
        }
        return passed.every((time, i) => time - (passed[i - limit] ?? -Infinity) >= 1000)
      },
    ),
    { numRuns: 30 },
  )
})

t.test(
  'Retry-After is true: one request passes after that many seconds, for any schedule',
  async () => {
    fc.assert(
      fc.property(limits, windows, pauses, (limit, windowSeconds, schedule) => {
        const { now, wait } = clock()
        const subject = limiter({ limit, windowSeconds, now })
        for (const pause of schedule) {
          wait(pause)
          const burst = 1 + (pause % Math.max(1, Math.ceil(limit / 4)))
          for (let i = 0; i < burst; i++) {
            const result = subject.take('a')
            if (result.consumedPoints <= limit) continue
            const seconds = retryAfterSeconds(result.msBeforeNext)
            if (!Number.isInteger(seconds) || seconds < 1 || seconds > windowSeconds) return false
            wait(seconds * 1000)
            if (!passes(subject)) return false
          }
        }
        return true
      }),
      { numRuns: 200 },
    )
  },
)

t.test(
  'Retry-After is no longer than necessary: less than a second earlier, a request is refused',
  async (t) => {
    const { now, wait } = clock()
    const subject = limiter({ now })
    passing(subject, 10)
    wait(12_345)
    const result = subject.take('a')
    t.equal(result.msBeforeNext, 47_655)
    t.equal(retryAfterSeconds(result.msBeforeNext), 48)
    wait(47_654)
    t.notOk(passes(subject))
    wait(1)
    t.ok(passes(subject))
  },
)

t.test('Retry-After is true after a restart with a lower limit', async (t) => {
  const { now, wait } = clock()
  const before = limiter({ limit: 100, now })
  for (let i = 0; i < 100; i++) {
    passes(before)
    wait(100)
  }
  const after = limiter({ limit: 10, now })
  after.restore(before.save())
  const seconds = retryAfterSeconds(after.take('a').msBeforeNext)
  wait(seconds * 1000)
  t.ok(passes(after), `after ${seconds} s`)
})

t.test('many requests of one key take bounded memory', async (t) => {
  const { now, wait } = clock()
  const subject = limiter({ limit: 1_000_000, now })
  for (let i = 0; i < 200_000; i++) {
    wait(0.25)
    subject.take('a')
  }
  const [, ages = []] = subject.save().entries[0] ?? []
  t.ok(ages.length <= 2000, `${ages.length} time stamps`)
})

t.test('a full table counts new keys under their shared key, and no request is free', async (t) => {
  const { now, wait } = clock()
  const subject = limiter({ capacity: 3, now })
  for (const key of ['a', 'b', 'c']) t.equal(passing(subject, 20, key, 'net-1'), 10)
  t.equal(passing(subject, 6, 'd', 'net-1'), 6)
  t.equal(passing(subject, 6, 'e', 'net-1'), 4, 'd and e share what their network has')
  t.equal(passing(subject, 20, 'f', 'net-2'), 10, 'another network has its own')
  t.equal(passing(subject, 20, 'g'), 10)
  t.equal(passing(subject, 20, 'h'), 0, 'keys without a network share one budget')
  t.equal(subject.size, 3 + 3)
  wait(60_000)
  t.equal(passing(subject, 20, 'd', 'net-1'), 10, 'room again: a budget of its own')
})

t.test('a refused key does not keep its place in the table at the cost of others', async (t) => {
  const { now, wait } = clock()
  const subject = limiter({ capacity: 2, now })
  passing(subject, 10, 'noisy')
  wait(30_000)
  passes(subject, 'quiet')
  passing(subject, 5, 'noisy')
  wait(30_000)
  t.ok(passes(subject, 'new', 'net'))
  t.equal(subject.size, 2, 'the stale one made room, though it asked last')
})

t.test('a shared budget that is in use does not keep stale ones in the table', async (t) => {
  const { now, wait } = clock()
  const subject = limiter({ capacity: 1, now })
  const fill = () => passes(subject, 'only')
  fill()
  for (let i = 0; i < 5; i++) passes(subject, `x${i}`, `net-${i}`)
  for (let minute = 0; minute < 3; minute++) {
    for (let step = 0; step < 4; step++) {
      wait(15_000)
      fill()
      passes(subject, 'x0', 'net-0')
    }
  }
  passes(subject, 'y', 'net-9')
  passes(subject, 'z', 'net-8')
  t.ok(subject.size <= 1 + 3, `${subject.size} kept`)
})

t.test('a million addresses leave the table bounded, and a known client served', async (t) => {
  const { now, wait } = clock()
  const subject = limiter({ capacity: 20_000, now })
  t.ok(passes(subject, 'known'))
  let largest = 0
  let served = 0
  for (let i = 0; i < 1_000_000; i++) {
    subject.take(`${i * 7919}/64`, `${i % 50_000}/48`)
    if (i % 125_000 === 0) {
      wait(7000)
      largest = Math.max(largest, subject.size)
      if (passes(subject, 'known', 'known-net')) served++
    }
  }
  t.ok(largest <= 20_000 + 10_001, `${largest} keys at most`)
  t.equal(served, 8)
})

t.test('budgets survive a restart, and the time in between counts', async (t) => {
  const first = clock(5_000_000)
  const second = clock(17) // another process's clock starts anywhere
  const before = limiter({ now: first.now })
  passing(before, 10, 'spent')
  first.wait(20_000)
  passing(before, 4, 'some')
  const saved = JSON.parse(JSON.stringify(before.save())) as ReturnType<typeof before.save>
  t.same(
    saved.entries.map(([key]) => key),
    ['spent', 'some'],
  )

  const after = limiter({ now: second.now })
  after.restore({ ...saved, savedAt: Date.now() - 10_000 })
  t.equal(passing(after, 20, 'spent'), 0)
  t.equal(passing(after, 20, 'some'), 6)
  second.wait(29_000)
  t.equal(passing(after, 20, 'spent'), 0, '59 s after they were made')
  second.wait(1100)
  t.equal(passing(after, 20, 'spent'), 10)

  const muchLater = limiter({ now: second.now })
  muchLater.restore({ ...saved, savedAt: Date.now() - 3_600_000 })
  t.equal(muchLater.size, 0, 'nothing of it matters an hour later')

  const clockSetBack = limiter({ now: second.now })
  clockSetBack.restore({ ...saved, savedAt: Date.now() + 3_600_000 })
  t.equal(
    passing(clockSetBack, 20, 'spent'),
    0,
    'a wall clock that was set back gives nothing away',
  )

  const smaller = limiter({ now: second.now, capacity: 1 })
  smaller.restore({ ...saved, savedAt: Date.now() })
  t.equal(smaller.size, 1)
})

t.test('a predecessor that still serves saves again, and each request counts once', async (t) => {
  const old = clock(5_000_000)
  const now = clock(17)
  const predecessor = limiter({ now: old.now })
  const successor = limiter({ now: now.now })
  const bothWait = (milliseconds: number) => {
    old.wait(milliseconds)
    now.wait(milliseconds)
  }
  passing(predecessor, 3, 'a')
  successor.restore(predecessor.save())
  bothWait(0.25)
  passing(predecessor, 2, 'a')
  passing(predecessor, 1, 'b')
  passing(successor, 1, 'a')
  successor.restore(predecessor.save())
  successor.restore(predecessor.save())
  t.equal(passing(successor, 20, 'a'), 4, '3 before, 2 since, 1 of its own')
  t.equal(passing(successor, 20, 'b'), 9)
  bothWait(30_000)
  passing(predecessor, 5, 'c')
  successor.restore(predecessor.save())
  bothWait(30_001)
  t.equal(passing(successor, 20, 'a'), 10, 'all of it leaves the window in its time')
  t.equal(passing(successor, 20, 'c'), 5)

  const full = limiter({ now: now.now, capacity: 1 })
  passing(full, 1, 'x')
  full.restore(predecessor.save())
  t.equal(full.size, 1, 'a full table stays within its bounds')
})

t.test('a restart never gives a request back early', async () => {
  fc.assert(
    fc.property(fc.array(fc.nat(100_000), { maxLength: 20 }), fc.nat(1000), (schedule, phase) => {
      const { state, now, wait } = clock(phase / 8)
      let subject = limiter({ limit: 3, now })
      const passed: number[] = []
      for (const pause of schedule) {
        wait(pause / 8)
        const saved = { ...subject.save(), savedAt: Date.now() + 10_000 }
        subject = limiter({ limit: 3, now })
        subject.restore(saved)
        if (passes(subject)) passed.push(state.ms)
      }
      return passed.every((time, i) => time - (passed[i - 3] ?? -Infinity) >= 60_000)
    }),
  )
})

t.test('steps of the wall clock change nothing', async (t) => {
  const realNow = Date.now
  t.teardown(() => {
    Date.now = realNow
  })
  const subject = limiter()
  t.equal(passing(subject, 5), 5)
  Date.now = () => realNow() + 3_600_000
  t.equal(passing(subject, 3), 3)
  Date.now = () => realNow() - 3_600_000
  t.equal(passing(subject, 10), 2)
})

t.test('a thousand requests at once: exactly ten pass', async (t) => {
  const subject = limiter()
  const results = await Promise.allSettled(Array.from({ length: 1000 }, () => subject.consume('a')))
  t.equal(results.filter(({ status }) => status === 'fulfilled').length, 10)
})

t.test('it implements the interface of rate-limiter-flexible', async (t) => {
  const { now, wait } = clock()
  const subject = limiter({ name: 'address', now })
  t.equal(await subject.get('a'), null, 'nothing is known of a new key')
  const first = await subject.consume('a', 4)
  t.ok(first instanceof RateLimiterRes)
  t.same(first.toJSON(), {
    remainingPoints: 6,
    msBeforeNext: 60_000,
    consumedPoints: 4,
    isFirstInDuration: false,
  })
  t.equal((await subject.consume('b')).isFirstInDuration, true)
  wait(1000)
  const refused: unknown = await subject.consume('a', 7).catch((reason: unknown) => reason)
  t.ok(refused instanceof RateLimiterRes, 'rejects with the result, not with an error')
  t.match(refused, { remainingPoints: 0, consumedPoints: 11, msBeforeNext: 59_000 })
  t.equal((await subject.consume('a', 6)).remainingPoints, 0, 'a refused request was not counted')
  t.match(await subject.get('a'), { consumedPoints: 10, remainingPoints: 0 })
  wait(60_000)
  t.equal(await subject.get('a'), null)
  t.equal(await subject.delete('b'), true)
  t.equal(await subject.delete('b'), false)
  t.equal((await subject.consume(7)).consumedPoints, 1, 'keys may be numbers')
})

t.test('it works in a RateLimiterUnion, beside another limiter', async (t) => {
  const union = new RateLimiterUnion(
    limiter({ name: 'minute', limit: 3 }),
    limiter({ name: 'second', limit: 2, windowSeconds: 1 }),
  )
  t.match(await union.consume('a'), {
    minute: { remainingPoints: 2 },
    second: { remainingPoints: 1 },
  })
  await union.consume('a')
  const refused: unknown = await union.consume('a').catch((reason: unknown) => reason)
  t.match(refused, { second: { remainingPoints: 0 } })
  t.notOk(Object.hasOwn(refused as object, 'minute'))
})

t.test(
  'the fields of the draft contain the remaining requests, the limit, and the time',
  async (t) => {
    const { now, wait } = clock()
    const subject = limiter({ now })
    t.same(rateLimitFields([budgetWindow('address', subject, subject.take('a'), subject.limit)]), [
      '"address";r=9;t=60',
      '"address";q=10;w=60',
    ])
    wait(30_500)
    t.same(
      rateLimitFields([budgetWindow('address', subject, subject.take('a'), subject.limit)])[0],
      '"address";r=8;t=30',
    )
    passing(subject, 20)
    t.same(rateLimitFields([budgetWindow('session', subject, subject.take('a'), subject.limit)]), [
      '"session";r=0;t=30',
      '"session";q=10;w=60',
    ])
  },
)

t.test('a whole window is never rounded up by a second, whatever the clock says', async (t) => {
  for (let start = 1000.1; start < 1e10; start = start * 1.1 + 0.1) {
    const { now } = clock(start)
    t.equal(retryAfterSeconds(limiter({ now }).take('a').msBeforeNext), 60, String(start))
  }
})

t.test('Retry-After is a whole number of seconds, and at least one', async (t) => {
  for (const [ms, seconds] of [
    [0, 1],
    [1, 1],
    [1000, 1],
    [1001, 2],
    [59_999.5, 60],
  ] as const)
    t.equal(retryAfterSeconds(ms), seconds)
})

t.test(
  'a large limit is whole again once its window is over, whichever requests shared a timestamp',
  async (t) => {
    const { now, wait } = clock()
    const subject = limiter({ limit: 1300, now })
    for (const round of ['first', 'second']) {
      let allowed = 0
      for (let i = 0; i < 1301; i++) {
        if (subject.take('a').consumedPoints <= 1300) allowed++
        wait(1)
      }
      t.equal(allowed, 1300, round)
      wait(61_000)
    }
  },
)
