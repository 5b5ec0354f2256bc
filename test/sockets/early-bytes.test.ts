/** Are all bytes kept that a client sends during its handshake, up to a limit, and is its leaving noticed? */
import { once } from 'node:events'
import { PassThrough } from 'node:stream'
import t from 'tap'
import { EarlyBytes, hasLeft } from '../../src/sockets/early-bytes.ts'

const KIB = 1024

/** A socket without a reader, and how often `onLeft` was called for it. */
function start() {
  const socket = new PassThrough({ highWaterMark: 1024 * KIB })
  let left = 0
  const early = new EarlyBytes(socket, () => left++)
  return { socket, early, left: () => left }
}

t.test(
  '64 KiB are kept, the rest waits where it is, and nothing is lost or reordered',
  async (t) => {
    const { socket, early } = start()
    const chunks = [1, 32 * KIB, 32 * KIB - 2, 1, 10, 100 * KIB].map((size, i) =>
      Buffer.alloc(size, i),
    )
    for (const chunk of chunks.slice(0, 3)) socket.write(chunk)
    t.notOk(socket.isPaused(), 'one byte is missing')
    socket.write(chunks[3])
    t.ok(socket.isPaused())
    for (const chunk of chunks.slice(4)) socket.write(chunk)
    const kept = early.take()
    t.equal(kept.length, 64 * KIB)
    t.notOk(socket.isPaused(), 'the next reader need not know')
    const later: Buffer[] = []
    socket.on('data', (chunk: Buffer) => later.push(chunk))
    socket.end()
    await once(socket, 'end')
    t.ok(Buffer.concat([kept, ...later]).equals(Buffer.concat(chunks)))
  },
)

t.test('a client that ends its side, or whose connection breaks, has left', async (t) => {
  const ended = start()
  ended.socket.end()
  await once(ended.socket, 'end')
  t.ok(ended.left() > 0)
  t.ok(hasLeft(ended.socket), 'also to those who ask later')
  const halfOpen = new PassThrough({ autoDestroy: false, allowHalfOpen: true })
  let told = 0
  const waiting = new EarlyBytes(halfOpen, () => told++)
  t.notOk(hasLeft(halfOpen))
  halfOpen.end()
  await once(halfOpen, 'end')
  t.equal(told, 1, 'the end of its side is enough')
  t.notOk(halfOpen.destroyed)
  t.ok(hasLeft(halfOpen))
  waiting.take()
  const broken = start()
  broken.socket.destroy()
  await once(broken.socket, 'close')
  t.equal(broken.left(), 1)
  t.ok(hasLeft(broken.socket))
})

t.test('after take(), no bytes are kept and no callback is called', async (t) => {
  const { socket, early, left } = start()
  socket.write('early')
  t.equal(early.take().toString(), 'early')
  t.equal(early.take().toString(), 'early', 'it has no more than it had')
  socket.on('data', () => {})
  socket.write('late')
  socket.end()
  await once(socket, 'close')
  t.equal(early.take().toString(), 'early')
  t.equal(left(), 0)
})
