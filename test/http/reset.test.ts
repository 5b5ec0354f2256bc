/** Is a connection always over after a reset, whatever state it was in? */
import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { resetConnection } from '../../src/http/reset.ts'
import { temporaryFolder } from '../helpers/process.ts'

/** More than the kernel takes of a peer that reads nothing. */
const MUCH = Buffer.alloc(16 * 1024 * 1024)

/** Two ends of a connection; the other one reads nothing. @param path of a Unix socket */
async function startPair(t: Test, path?: string): Promise<{ own: Socket; other: Socket }> {
  const server = createServer({ pauseOnConnect: true, allowHalfOpen: true })
  server.listen(path ?? { port: 0, host: '127.0.0.1' })
  await once(server, 'listening')
  const accepted = once(server, 'connection')
  const place = path ?? (server.address() as AddressInfo).port
  const own = typeof place === 'string' ? connect(place) : connect(place, '127.0.0.1')
  const [other] = (await accepted) as [Socket]
  await once(own, 'ready')
  other.on('error', () => {})
  t.teardown(() => {
    own.destroy()
    other.destroy()
    server.close()
  })
  return { own, other }
}

t.test('a connection is reset, also while the other end reads nothing', async (t) => {
  const { own, other } = await startPair(t)
  own.write(MUCH)
  const closed = once(own, 'close')
  resetConnection(own)
  await closed
  const error = once(other, 'error')
  other.resume()
  t.match(await error, [{ code: 'ECONNRESET' }])
})

t.test('one whose proper end is just on its way is closed, without an error', async (t) => {
  const { own } = await startPair(t)
  own.end()
  await Promise.resolve()
  const closed = once(own, 'close') // rejects when there is an error
  resetConnection(own)
  await closed
})

t.test('a Unix socket, which has no reset, is closed', async (t) => {
  const { own } = await startPair(t, join(temporaryFolder(t), 's'))
  const closed = once(own, 'close')
  resetConnection(own)
  await closed
})
