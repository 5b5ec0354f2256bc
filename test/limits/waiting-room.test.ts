/** Does each turn of the event loop run a few of the waiting jobs, in order, whatever the jobs do? */
import { setImmediate as nextTurn } from 'node:timers/promises'
import t from 'tap'
import { WaitingRoom } from '../../src/limits/waiting-room.ts'

/** A waiting room whose clock moves only when a job moves it, and the errors of its jobs. */
function openRoom() {
  const errors: unknown[] = []
  const clock = { ms: 1000 }
  const room = new WaitingRoom(
    (error) => errors.push(error),
    () => clock.ms,
  )
  return { room, clock, errors }
}

t.test('jobs do not run immediately, and run in order', async (t) => {
  const { room } = openRoom()
  const served: number[] = []
  for (let i = 0; i < 10; i++) room.add(() => served.push(i))
  t.same(served, [])
  t.equal(room.size, 10)
  await nextTurn()
  t.same(served, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
  t.equal(room.size, 0)
})

t.test('a turn ends when its time is over; the other jobs run in the next turns', async (t) => {
  const { room, clock } = openRoom()
  const served: number[] = []
  const turns: number[] = []
  for (let i = 0; i < 10; i++)
    room.add(() => {
      clock.ms += 0.2 // the third of a turn goes past its half millisecond
      served.push(i)
    })
  while (room.size > 0) {
    await nextTurn()
    turns.push(served.length)
  }
  t.same(turns, [3, 6, 9, 10])
  t.same(served, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
})

t.test('each turn runs at least one job, however long it takes', async (t) => {
  const { room, clock } = openRoom()
  let served = 0
  for (let i = 0; i < 5; i++)
    room.add(() => {
      clock.ms += 1000
      served++
    })
  for (let turn = 1; turn <= 5; turn++) {
    await nextTurn()
    t.equal(served, turn)
  }
})

t.test('promises and ticks of a job run before the next job, and count as its time', async (t) => {
  const { room, clock } = openRoom()
  const order: string[] = []
  const job = (name: string) => () => {
    order.push(name)
    process.nextTick(() => order.push(`${name}, tick`))
    queueMicrotask(() => {
      order.push(`${name}, promise`)
      clock.ms += 1
    })
  }
  room.add(job('one'))
  room.add(job('two'))
  await nextTurn()
  t.same(order, ['one', 'one, tick', 'one, promise'])
  await nextTurn()
  t.same(order.slice(3), ['two', 'two, tick', 'two, promise'])
})

t.test('with a real clock a turn is short, and all jobs run', async (t) => {
  const room = new WaitingRoom(() => {})
  let served = 0
  for (let i = 0; i < 1000; i++)
    room.add(() => {
      const until = performance.now() + 0.1
      while (performance.now() < until);
      served++
    })
  await nextTurn()
  t.ok(served >= 1 && served <= 6, `${served} of a tenth of a millisecond in half a one`)
  let turns = 1
  while (room.size > 0) {
    await nextTurn()
    turns++
  }
  t.equal(served, 1000)
  t.ok(turns >= 1000 / 6)
})

t.test('when the room is full, the oldest job runs immediately', async (t) => {
  const { room } = openRoom()
  const served: number[] = []
  for (let i = 0; i < 3000; i++) room.add(() => served.push(i))
  t.equal(room.size, 1024)
  t.equal(served.length, 3000 - 1024)
  while (room.size > 0) await nextTurn()
  t.same(
    served,
    Array.from({ length: 3000 }, (_, i) => i),
  )
})

t.test('a job that throws does not stop the others', async (t) => {
  const { room, errors } = openRoom()
  const served: string[] = []
  const problem = new Error('of this job')
  room.add(() => served.push('before'))
  room.add(() => {
    throw problem
  })
  room.add(() => served.push('after'))
  await nextTurn()
  t.same(served, ['before', 'after'])
  t.same(errors, [problem])
  room.add(() => {
    throw problem
  })
  room.empty()
  t.same(errors, [problem, problem])
})

t.test('turn() resolves when a job would run', async (t) => {
  const { room } = openRoom()
  const order: string[] = []
  room.add(() => order.push('before'))
  const waited = room.turn().then(() => order.push('one’s own'))
  room.add(() => order.push('after'))
  await waited
  await nextTurn()
  t.same(order, ['before', 'one’s own', 'after'])
})

t.test('each job may add another one: turns still end', async (t) => {
  const { room, clock } = openRoom()
  let served = 0
  const again = () => {
    served++
    clock.ms += 0.1
    if (served < 50) room.add(again)
  }
  room.add(again)
  await nextTurn()
  t.ok(served < 50)
  while (room.size > 0) await nextTurn()
  t.equal(served, 50)
})

t.test('a full room whose jobs add others runs each job once', async (t) => {
  const { room } = openRoom()
  const served = new Set<string>()
  for (let i = 0; i < 1500; i++)
    room.add(() => {
      served.add(`first ${i}`)
      room.add(() => served.add(`second ${i}`))
    })
  while (room.size > 0) await nextTurn()
  t.equal(served.size, 3000)
})

t.test('a room that was emptied accepts jobs again', async (t) => {
  const { room } = openRoom()
  const served: string[] = []
  for (const name of ['a', 'b']) room.add(() => served.push(name))
  room.empty()
  t.same(served, ['a', 'b'])
  t.equal(room.size, 0)
  room.add(() => served.push('c'))
  await nextTurn()
  await nextTurn()
  t.same(served, ['a', 'b', 'c'])
  await nextTurn()
  room.add(() => served.push('d'))
  await nextTurn()
  t.same(served, ['a', 'b', 'c', 'd'])
})
