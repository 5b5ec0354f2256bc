/** Does a response body reach the client whole and in order, however its pieces are cut and whenever they come? */
import type { Socket } from 'node:net'
import t from 'tap'
import { startBefore } from '../helpers/gateway.ts'
import { startRawUpstream } from '../helpers/upstream.ts'
import { gather, open, requestBytes, send } from '../helpers/wire.ts'

const SMALL = 'small'
const LARGE = 'x'.repeat(20_000) // larger than what is held for the end of the packet

const HEAD = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n'
const END = '0\r\n\r\n'
/** The body in these chunks. No piece here looks like the size of a chunk. */
const unchunked = (text: string) =>
  text.replace(/(?:^|\r\n)[0-9a-f]+\r\n/g, '').replace(/\r\n$/, '')
const chunk = (text: string) => `${text.length.toString(16)}\r\n${text}\r\n`

t.test('pieces that come with the head arrive whole and in order', async (t) => {
  let pieces: readonly string[] = []
  const service = await startRawUpstream(t, (socket) => {
    socket.on('data', () => socket.write(HEAD + pieces.map(chunk).join('') + END))
  })
  const { port, auth, settled } = await startBefore(t, service)
  for (pieces of [
    [],
    [SMALL],
    [SMALL, 'second'],
    [SMALL, 'second', 'third'],
    [SMALL, LARGE],
    [LARGE],
    [LARGE, SMALL],
    [LARGE, LARGE],
  ]) {
    const { status, body } = await send(port, 'GET /', [auth])
    t.equal(status, 200)
    t.equal(unchunked(body), pieces.join(''), pieces.map(({ length }) => length).join())
  }
  t.equal(service.dials(), 1)
  await settled()
})

t.test('a head does not wait for its body, nor a piece for the next one', async (t) => {
  for (const first of ['', SMALL, LARGE]) {
    const sockets: Socket[] = []
    const service = await startRawUpstream(t, (socket) => {
      sockets.push(socket)
      socket.on('data', () => socket.write(HEAD + (first === '' ? '' : chunk(first))))
    })
    const { port, auth, settled } = await startBefore(t, service)
    const client = await open(port)
    const received = gather(client)
    client.write(requestBytes('GET /', [auth]))
    await received.until((text) => text.includes('\r\n\r\n') && text.includes(first))
    for (const piece of [SMALL, LARGE, 'last']) {
      sockets[0]?.write(chunk(piece))
      await received.until((text) => text.endsWith(`${piece}\r\n`))
    }
    sockets[0]?.write(END)
    await received.until((text) => text.endsWith('\r\n0\r\n\r\n'))
    client.destroy()
    await settled()
  }
})
