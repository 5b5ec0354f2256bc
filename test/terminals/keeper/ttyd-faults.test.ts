/** What can ttyd do to the keeper? It refuses, hangs, ends, or says what no ttyd says; the keeper and its terminals go on. */
import { createHash } from 'node:crypto'
import type { Socket } from 'node:net'
import t from 'tap'
import {
  cutOff,
  LogLines,
  openShell,
  openTerminal,
  refusalOf,
  startScriptedTtyd,
  startTestKeeper,
  TAB,
} from '../../helpers/kept-terminals.ts'
import { startRawUpstream, startUpstream } from '../../helpers/upstream.ts'
import { eventually, watchForCrashes } from '../../helpers/waiting.ts'

const crashes = watchForCrashes()
const TARGET = `/terminal/ws?tab=${TAB}`
const TITLE = '1t'
const MIB = 1024 * 1024

/** A ttyd that accepts every handshake and then lets a test write what it likes. */
async function startRawTtyd(
  t: Parameters<typeof startRawUpstream>[0],
  onOpen: (socket: Socket) => void,
  more = '',
) {
  return startRawUpstream(t, (socket) => {
    socket.once('data', (data: Buffer) => {
      const key = /Sec-WebSocket-Key: (\S+)/i.exec(data.toString('latin1'))?.[1] ?? ''
      const accept = createHash('sha1')
        .update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`)
        .digest('base64')
      socket.write(
        `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\nSec-WebSocket-Protocol: tty\r\n\r\n${more}`,
        'latin1',
      )
      socket.once('data', () => onOpen(socket))
    })
  })
}

t.test('ttyd’s refusal of a handshake passes as it is', async (t) => {
  const log = new LogLines()
  const ttyd = await startUpstream(t, undefined, (_request, socket) => {
    socket.end(
      'HTTP/1.1 407 No\r\nProxy-Authenticate: Basic realm="ttyd"\r\nX-Odd: \xe9\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n',
      'latin1',
    )
  })
  const keeper = await startTestKeeper(t, ttyd, {}, { log })
  const refusal = await refusalOf(keeper.path, TARGET)
  t.match(refusal, {
    status: 407,
    body: 'body',
    headers: { 'proxy-authenticate': 'Basic realm="ttyd"', 'x-odd': '\xe9' },
  })
  t.match(log.of('ttyd refused a handshake'), [{ sid: 'session-1', status: 407 }])
  t.equal(keeper.terminals.size, 0)
})

t.test('a redirect is not followed', async (t) => {
  const ttyd = await startUpstream(t, undefined, (_request, socket) => {
    socket.end('HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n')
  })
  const keeper = await startTestKeeper(t, ttyd)
  t.match(await refusalOf(keeper.path, TARGET), { status: 302 })
  t.equal(ttyd.dials(), 1)
})

t.test('a handshake that ttyd does not complete ends the client’s connection', async (t) => {
  for (const answer of [
    '',
    'nonsense\r\n\r\n',
    'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: wrong\r\n\r\n',
    'HTTP/1.1 101 Switching Protocols\r\nUpgrade: other\r\nConnection: Upgrade\r\n\r\n',
    'HTTP/1.1 101 Switching',
  ]) {
    const log = new LogLines()
    const ttyd = await startRawUpstream(t, (socket) =>
      socket.once('data', () => socket.end(answer)),
    )
    const keeper = await startTestKeeper(t, ttyd, {}, { log })
    t.equal(await refusalOf(keeper.path, TARGET), 'cut', JSON.stringify(answer))
    t.equal(log.of('ttyd did not accept a handshake').length, 1)
    t.equal(keeper.terminals.size, 0)
  }
  t.same(crashes, [])
})

t.test('a ttyd that hangs is given up, and one that is not there', async (t) => {
  let closed = 0
  const ttyd = await startRawUpstream(t, (socket) => socket.on('close', () => closed++).resume())
  const keeper = await startTestKeeper(
    t,
    ttyd,
    {},
    { times: { ttydMs: 100, firstMessageMs: 10_000 } },
  )
  t.equal(await refusalOf(keeper.path, TARGET), 'cut')
  await eventually(() => closed === 1, 'its connection ends')
  const away = await startTestKeeper(t, { url: 'http://127.0.0.1:1' })
  t.equal(await refusalOf(away.path, TARGET), 'cut')
  const noFile = await startTestKeeper(t, { url: 'unix:/nonexistent/ttyd.sock' })
  t.equal(await refusalOf(noFile.path, TARGET), 'cut')
})

t.test('frames of ttyd that break the protocol end its terminal alone', async (t) => {
  for (const frames of [
    '\xff\xff\xff\xff',
    '\x83\x00', // an opcode that is reserved
    '\xc2\x01x', // compressed, which was not agreed
    '\x02\x01x\x02\x01x', // a message within a message
    '\x80\x01x', // the rest of none
    '\x89\x7e\x00\x80', // a ping that is too long
    '\x88\x02\x03\xed', // 1005, which no frame may have
    '\x88\x01x',
    '\x82\x7f\x00\x00\x00\x01\x00\x00\x00\x00', // 4 GiB
    '\x82\x85\x00\x00\x00\x00hello', // masked
  ]) {
    const ttyd = await startRawTtyd(t, (socket) =>
      socket.write(`\x82\x02${TITLE}${frames}`, 'latin1'),
    )
    const keeper = await startTestKeeper(t, ttyd)
    const client = await openTerminal(t, keeper.path)
    await eventually(() => client.closedWith() !== undefined, JSON.stringify(frames))
    t.equal(client.closedWith(), 1000)
    await eventually(() => keeper.terminals.size === 0, 'it is forgotten')
    t.equal((await keeper.ask('GET', '/_ready')).status, 200)
  }
  t.same(crashes, [])
})

t.test('messages before the client has said anything reach it', async (t) => {
  const ttyd = await startRawTtyd(t, () => {}, '\x82\x061early')
  const keeper = await startTestKeeper(t, ttyd)
  const client = await openTerminal(t, keeper.path, { first: undefined })
  await eventually(() => client.messages.length === 1, 'the message')
  t.same(client.messages, ['1early'])
})

t.test(
  'unknown, empty, textual, fragmented and very large messages pass as they are',
  async (t) => {
    const ttyd = await startScriptedTtyd(t)
    const keeper = await startTestKeeper(t, ttyd)
    const { client, shell } = await openShell(t, keeper, ttyd)
    const { socket } = shell
    const large = `9${'x'.repeat(8 * MIB)}`
    socket.send('7unknown')
    socket.send(Buffer.alloc(0))
    socket.send('0te', { fin: false, binary: false })
    socket.send('xt', { binary: false })
    socket.ping('p')
    socket.send(Buffer.from('\0\xff', 'latin1'))
    socket.send(large)
    await eventually(() => client.messages.length >= 7, 'all of them')
    t.same(client.messages.slice(2, 5), ['7unknown', '', '0text'])
    t.ok(client.messages[6] === large)
    await cutOff(keeper, client)
    socket.send('7nobody is there')
    const back = await openTerminal(t, keeper.path)
    await eventually(() => back.output().includes('text'), 'the screen')
    t.same(back.messages.slice(0, 2), ['1sh (houston)', '2{ }'])
  },
)

t.test('a title or preferences of megabytes pass, and are not kept', async (t) => {
  const ttyd = await startScriptedTtyd(t)
  const keeper = await startTestKeeper(t, ttyd)
  const { client, shell } = await openShell(t, keeper, ttyd)
  shell.socket.send(`1${'t'.repeat(4 * MIB)}`)
  shell.socket.send(`2${'p'.repeat(4 * MIB)}`)
  await eventually(() => client.messages.length === 4, 'they pass')
  await cutOff(keeper, client)
  const back = await openTerminal(t, keeper.path)
  await eventually(() => back.messages.length >= 3, 'it is back')
  t.same(back.messages.slice(0, 2), ['1sh (houston)', '2{ }'])
})
