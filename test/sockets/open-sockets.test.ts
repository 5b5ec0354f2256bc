/** Are sockets counted by session and by address, and are exactly those closed that must be? */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import t from 'tap'
import {
  OpenSockets,
  RESTARTING,
  SESSION_ENDED,
  SOCKETS_PER_ADDRESS,
  SOCKETS_PER_SESSION,
  type CloseReason,
  type OpenSocket,
} from '../../src/sockets/open-sockets.ts'
import { browserSession, principalOf } from '../helpers/principal.ts'

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

/** Somebody with a session of this id. */
const sessionOf = (id: string) => principalOf(browserSession(id))

const ALICE = sessionOf('s1')

/** A socket that records how it was closed. */
function fakeSocket(sessionId: string, ends: string[]): OpenSocket {
  return {
    principal: sessionOf(sessionId),
    address: '203.0.113.9',
    close: ({ code }: CloseReason) => ends.push(`${sessionId} ${code}`),
    destroy: () => ends.push(`${sessionId} cut`),
  }
}

t.test(
  'a session and an address have a limited number of places, and a released place is free',
  async (t) => {
    const sockets = new OpenSockets()
    const places = Array.from({ length: SOCKETS_PER_SESSION }, () => sockets.reserve(ALICE, 'a1'))
    t.notOk(sockets.hasRoom('s1', 'a2'), 'the session is full')
    t.ok(sockets.hasRoom('s2', 'a1'))
    for (let i = 0; i < SOCKETS_PER_ADDRESS - SOCKETS_PER_SESSION; i++)
      sockets.reserve(sessionOf(`t${i}`), 'a1')
    t.notOk(sockets.hasRoom('s2', 'a1'), 'the address is full')
    t.ok(sockets.hasRoom('s2', 'a2'))

    places[0]?.release()
    places[0]?.release()
    t.ok(sockets.hasRoom('s1', 'a2'))
    sockets.reserve(ALICE, 'a2')
    t.notOk(sockets.hasRoom('s1', 'a2'), 'giving it back twice frees it once')
    t.ok(sockets.hasRoom('s2', 'a1'), 'the address has its place back, too')
    sockets.reserve(sessionOf('s2'), 'a1')
    t.notOk(sockets.hasRoom('s2', 'a1'), 'and one only')
  },
)

t.test('sessions and addresses without sockets leave nothing in memory', async (t) => {
  const sockets = new OpenSockets()
  const comeAndGo = (count: number) => {
    for (let i = 0; i < count; i++)
      sockets.reserve(sessionOf(`session ${i}`), `address ${i}`).release()
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

t.test('only the sockets for which the condition holds are closed', async (t) => {
  const sockets = new OpenSockets()
  const ends: string[] = []
  const one = fakeSocket('s1', ends)
  for (const socket of [one, fakeSocket('s2', ends), fakeSocket('s1', ends)]) sockets.add(socket)
  t.equal(sockets.size, 3)
  sockets.close(SESSION_ENDED, ({ principal }) => principal.session.id === 's1')
  t.same(ends, ['s1 4401', 's1 4401'])
  sockets.delete(one)
  t.equal(sockets.size, 2)
  ends.length = 0
  sockets.close(RESTARTING)
  t.same(ends, ['s2 1012', 's1 1012'])
  ends.length = 0
  sockets.destroyAll()
  t.same(ends, ['s2 cut', 's1 cut'])
})

t.test(
  'a place whose socket is not open yet gets the reason to close it, and nothing else',
  async (t) => {
    const sockets = new OpenSockets()
    const place = sockets.reserve(ALICE, 'a1')
    const other = sockets.reserve(sessionOf('s2'), 'a1')
    const released = sockets.reserve(ALICE, 'a1')
    released.release()
    t.equal(place.endedBy, undefined)
    sockets.close(SESSION_ENDED, ({ principal }) => principal.session.id === 's1')
    t.equal(place.endedBy, SESSION_ENDED)
    t.equal(other.endedBy, undefined)
    sockets.close(RESTARTING)
    t.equal(place.endedBy, SESSION_ENDED, 'the first reason counts')
    t.equal(other.endedBy, RESTARTING)
    t.equal(released.endedBy, undefined, 'a place that was given back is not kept')
    t.equal(sockets.size, 0, 'a place is no open socket')
  },
)

t.test('sockets may be deleted while all are being closed', async (t) => {
  const sockets = new OpenSockets()
  const ends: string[] = []
  for (let i = 0; i < 5; i++) {
    const socket = fakeSocket(`s${i}`, ends)
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
