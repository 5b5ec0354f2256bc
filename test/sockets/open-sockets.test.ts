/** Are sockets counted by session and by address, and are exactly those closed that must be? */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import t from 'tap'
import { RESTARTING, type CloseReason } from '../../src/answers/close-reasons.ts'
import {
  OpenSockets,
  SOCKETS_PER_ADDRESS,
  SOCKETS_PER_SESSION,
  type OpenSocket,
} from '../../src/sockets/open-sockets.ts'
import type { Session } from '../../src/identity/session.ts'
import { browserSession, principalOf } from '../helpers/principal.ts'

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

/** A socket that records how it was closed. */
function fakeSocket(session: Session, ends: string[]): OpenSocket {
  return {
    principal: principalOf(session),
    address: '203.0.113.9',
    close: ({ code }: CloseReason) => ends.push(`${session.id} ${code}`),
    destroy: () => ends.push(`${session.id} cut`),
  }
}

t.test(
  'a session and an address have a limited number of places, and a released place is free',
  async (t) => {
    const sockets = new OpenSockets()
    const places = Array.from({ length: SOCKETS_PER_SESSION }, () => sockets.reserve('s1', 'a1'))
    t.notOk(sockets.hasRoom('s1', 'a2'), 'the session is full')
    t.ok(sockets.hasRoom('s2', 'a1'))
    for (let i = 0; i < SOCKETS_PER_ADDRESS - SOCKETS_PER_SESSION; i++)
      sockets.reserve(`t${i}`, 'a1')
    t.notOk(sockets.hasRoom('s2', 'a1'), 'the address is full')
    t.ok(sockets.hasRoom('s2', 'a2'))

    places[0]?.()
    places[0]?.()
    t.ok(sockets.hasRoom('s1', 'a2'))
    sockets.reserve('s1', 'a2')
    t.notOk(sockets.hasRoom('s1', 'a2'), 'giving it back twice frees it once')
    t.ok(sockets.hasRoom('s2', 'a1'), 'the address has its place back, too')
    sockets.reserve('s2', 'a1')
    t.notOk(sockets.hasRoom('s2', 'a1'), 'and one only')
  },
)

t.test('sessions and addresses without sockets leave nothing in memory', async (t) => {
  const sockets = new OpenSockets()
  const comeAndGo = (count: number) => {
    for (let i = 0; i < count; i++) sockets.reserve(`session ${i}`, `address ${i}`)()
  }
  comeAndGo(1000)
  collectGarbage()
  const before = process.memoryUsage().heapUsed
  comeAndGo(200_000)
  collectGarbage()
  const grown = process.memoryUsage().heapUsed - before
  t.ok(grown < 5_000_000, `${grown} bytes more`)
  t.ok(sockets.hasRoom('session 0', 'address 0'))
})

t.test('when sessions end, exactly their sockets are closed', async (t) => {
  const sockets = new OpenSockets()
  const ends: string[] = []
  const [one, two] = [browserSession('s1'), browserSession('s2')]
  const first = fakeSocket(one, ends)
  for (const socket of [first, fakeSocket(two, ends), fakeSocket(one, ends)]) sockets.add(socket)
  t.equal(sockets.size, 3)
  sockets.closeEnded()
  t.same(ends, [], 'none has ended')
  one.end('revoked')
  sockets.closeEnded()
  t.same(ends, ['s1 4401', 's1 4401'])
  sockets.delete(first)
  t.equal(sockets.size, 2)
  ends.length = 0
  sockets.close(RESTARTING)
  t.same(ends, ['s2 1012', 's1 1012'])
  ends.length = 0
  sockets.destroyAll()
  t.same(ends, ['s2 cut', 's1 cut'])
})

t.test('sockets may be deleted while all are being closed', async (t) => {
  const sockets = new OpenSockets()
  const ends: string[] = []
  for (let i = 0; i < 5; i++) {
    const socket = fakeSocket(browserSession(`s${i}`), ends)
    const leaving = {
      ...socket,
      close(reason: CloseReason) {
        socket.close(reason)
        sockets.delete(leaving)
      },
    }
    sockets.add(leaving)
  }
  sockets.close(RESTARTING)
  t.equal(ends.length, 5)
  t.equal(sockets.size, 0)
})
