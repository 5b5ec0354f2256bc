/** What happens to a client that is slower than its shell? It gets the screen instead of a backlog, and input is never late. */
import { createHash, randomUUID } from 'node:crypto'
import { once } from 'node:events'
import t from 'tap'
import { WebSocket } from 'ws'
import { startWorkspace, token } from '../../helpers/gateway.ts'
import {
  areParked,
  CREDENTIAL,
  openTerminal,
  pause,
  startScriptedTtyd,
  startTestKeeper,
  TAB,
  TestClock,
  type ScriptedShell,
  type TestClient,
} from '../../helpers/kept-terminals.ts'
import { basic } from '../../helpers/ttyd.ts'
import { elapse, eventually, standsStill } from '../../helpers/waiting.ts'

const MIB = 1024 * 1024

/** The largest amount that a client may get before it is found to be behind: 1 MiB, and the message that exceeds it. */
const BACKLOG_BYTES = MIB + 64 * 1024

/** A screen with 1,000 lines above it, and what it takes to draw it. */
const SCREEN_BYTES = 160 * 1024

/** The beginning of a snapshot: the terminal is reset. */
const SNAPSHOT = '\x1bc'

/** Output of about this many bytes, in messages as large as ttyd's, whose lines are numbered. */
async function pour(shell: ScriptedShell, bytes: number): Promise<void> {
  let line = 0
  for (let poured = 0; poured < bytes;) {
    let text = ''
    while (text.length < 4000) text += `line ${line++} of the output of a build\r\n`
    shell.print(text)
    poured += text.length
    if (shell.socket.bufferedAmount > MIB) await sent(shell)
  }
  shell.print('the last line\r\n')
}

/** Waits until the keeper has taken what was printed: it answers a ping behind it. */
async function sent({ socket }: ScriptedShell): Promise<void> {
  const mark = randomUUID()
  socket.ping(mark)
  const isAnswer = (data: Buffer) => data.toString() === mark
  while (!isAnswer(((await once(socket, 'pong')) as [Buffer])[0])); // others say that the keeper lives
}

function bytesOf(client: TestClient): number {
  return client.messages.reduce((sum, text) => sum + text.length, 0)
}

t.test('a client that does not read gets the screen, not the backlog', async (t) => {
  const ttyd = await startScriptedTtyd(t)
  const keeper = await startTestKeeper(t, ttyd)
  const client = await openTerminal(t, keeper.path)
  const shell = await ttyd.shell(0)
  await eventually(() => client.messages.length === 2, 'title and preferences')
  client.socket.pause()
  await pour(shell, 12 * MIB)
  await sent(shell)
  client.socket.resume()
  await eventually(() => client.output().includes('the last line'), 'the screen')
  const output = client.output()
  const snapshotAt = output.lastIndexOf(SNAPSHOT)
  t.ok(snapshotAt > 0, 'the screen was drawn')
  t.ok(
    snapshotAt <= BACKLOG_BYTES,
    'before it came what had been sent when the client was found to be behind',
  )
  t.ok(output.length - snapshotAt <= SCREEN_BYTES, 'and no more than a screen followed')
  shell.print('$ ')
  await eventually(() => client.output().endsWith('$ '), 'it goes on as usual')
})

t.test(
  'Ctrl-C is answered before a second has passed on a slow line behind a gateway',
  async (t) => {
    const ttyd = await startScriptedTtyd(t)
    const keeper = await startTestKeeper(t, ttyd)
    const { port } = await startWorkspace(t, { GATEWAY_TERMINAL_URL: keeper.url })
    const socket = new WebSocket(`ws://127.0.0.1:${port}/terminal/ws?tab=${TAB}`, 'tty', {
      headers: {
        Host: 'houston.hubify.com',
        Authorization: basic(CREDENTIAL),
        'X-Forwarded-Proto': 'https',
        Cookie: `__Host-workspace_session=${await token()}`,
        Origin: 'https://houston.hubify.com',
      },
      perMessageDeflate: false,
    })
    t.teardown(() => socket.terminate())
    let output = ''
    let isEnding = false
    socket.on('message', (data: Buffer) => {
      output += data.toString().slice(1)
      // About 1 MB a second: what a message takes on the line is waited for after it.
      if (isEnding) return
      socket.pause()
      void elapse(data.length / 1000, 'the line is slow').then(() => socket.resume())
    })
    await new Promise((resolve) => void socket.once('open', resolve))
    socket.send(
      JSON.stringify({
        AuthToken: Buffer.from(CREDENTIAL).toString('base64'),
        columns: 80,
        rows: 24,
      }),
    )
    const shell = await ttyd.shell(0)
    const pouring = (async () => {
      while (!shell.received.includes('0\x03')) {
        shell.print('y\r\n'.repeat(1365))
        if (shell.socket.bufferedAmount > MIB / 4) await sent(shell)
        await elapse(1, 'the shell writes')
      }
      shell.print('^C\r\n$ ')
    })()
    await eventually(() => output.length > 2 * MIB, 'the output is on its way')
    const before = output.length
    socket.send('0\x03')
    await eventually(() => output.includes('^C'), 'the answer')
    t.ok(output.length - before < BACKLOG_BYTES, 'at this rate, that was under a second')
    isEnding = true
    await pouring
  },
)

t.test(
  'a client that answers no pings is not sent more, and has gone after a minute',
  async (t) => {
    const ttyd = await startScriptedTtyd(t)
    const clock = new TestClock({ standsStill: true })
    const keeper = await startTestKeeper(t, ttyd, {}, { clock })
    const client = await openTerminal(t, keeper.path, { autoPong: false })
    const shell = await ttyd.shell(0)
    await pour(shell, 4 * MIB)
    await sent(shell)
    await standsStill(() => bytesOf(client), 'what it is sent')
    t.ok(bytesOf(client) <= BACKLOG_BYTES)
    client.type('still here')
    await eventually(() => shell.received.includes('0still here'), 'it is heard')
    clock.pass(59_999)
    keeper.terminals.check()
    await standsStill(() => keeper.terminals.counts().parked, 'it stays')
    t.equal(keeper.terminals.counts().attached, 1)
    clock.pass(1)
    keeper.terminals.check()
    await areParked(keeper)
    t.notOk(shell.hasEnded())
  },
)

t.test('on a slow line a client is behind long before a MiB waits', async (t) => {
  const ttyd = await startScriptedTtyd(t)
  const clock = new TestClock({ standsStill: true })
  const keeper = await startTestKeeper(t, ttyd, {}, { clock })
  const client = await openTerminal(t, keeper.path, { autoPong: false })
  const shell = await ttyd.shell(0)
  await pour(shell, MIB / 4)
  await eventually(() => client.output().includes('the last line'), 'nothing is late yet')
  clock.pass(501)
  await pour(shell, MIB / 2)
  await sent(shell)
  await standsStill(() => bytesOf(client), 'what it is sent')
  t.ok(bytesOf(client) < (MIB * 3) / 8, `${bytesOf(client)} bytes`)
})

t.test('wrong answers to pings, and floods of them, prove nothing', async (t) => {
  const ttyd = await startScriptedTtyd(t)
  const keeper = await startTestKeeper(t, ttyd)
  const client = await openTerminal(t, keeper.path, { autoPong: false })
  const shell = await ttyd.shell(0)
  const lies = ['', '0', '65536', '1e9', 'Infinity', '-1', 'x'.repeat(125), Buffer.alloc(8)]
  await pour(shell, 2 * MIB)
  for (let i = 0; i < 20_000; i++) client.socket.pong(lies[i % lies.length])
  await pour(shell, 2 * MIB)
  await sent(shell)
  await standsStill(() => bytesOf(client), 'what it is sent')
  t.ok(bytesOf(client) <= BACKLOG_BYTES)
  client.type('x')
  await eventually(() => shell.received.includes('0x'), 'it works on')
})

t.test('an answer to a later ping answers the earlier ones', async (t) => {
  const ttyd = await startScriptedTtyd(t)
  // No ping is late, and the bytes alone decide when a client is behind.
  const clock = new TestClock({ standsStill: true })
  const keeper = await startTestKeeper(t, ttyd, {}, { clock })
  const client = await openTerminal(t, keeper.path, { autoPong: false })
  const shell = await ttyd.shell(0)
  const pings: Buffer[] = []
  client.socket.on('ping', (data) => pings.push(data))
  await pour(shell, 4 * MIB)
  await sent(shell)
  await standsStill(() => bytesOf(client), 'what it is sent')
  t.ok(pings.length >= 10 && pings.length <= 20)
  client.socket.pong(pings.at(-1))
  await eventually(() => client.output().includes('the last line'), 'it gets the screen')
})

t.test('a pause of the page is honoured, and a long one ends with the screen', async (t) => {
  const ttyd = await startScriptedTtyd(t)
  const keeper = await startTestKeeper(t, ttyd)
  const client = await openTerminal(t, keeper.path)
  const shell = await ttyd.shell(0)
  await eventually(() => client.messages.length === 2, 'title and preferences')
  client.socket.send('2')
  client.socket.send('2')
  client.type('paused')
  await eventually(() => shell.received.includes('0paused'), 'it is paused')
  t.notMatch(shell.received, ['2'], 'ttyd is not told: its own pause does nothing')
  for (const text of ['one ', 'two ', 'three ']) shell.print(text)
  await standsStill(() => client.messages.length, 'what it is sent')
  t.equal(client.output(), '')
  client.socket.send('3')
  await eventually(() => client.output() === 'one two three ', 'nothing is missing or doubled')
  client.socket.send('3')
  client.socket.send('2')
  client.type('paused again')
  await eventually(() => shell.received.includes('0paused again'), 'it is paused again')
  await pour(shell, 4 * MIB)
  await sent(shell)
  t.equal(client.output(), 'one two three ')
  client.socket.send('3')
  await eventually(() => client.output().includes('the last line'), 'it gets the screen')
  t.ok(client.output().length <= SCREEN_BYTES)
})

t.test('a client that was cut in a pause comes back without one', async (t) => {
  const ttyd = await startScriptedTtyd(t)
  const keeper = await startTestKeeper(t, ttyd)
  const client = await openTerminal(t, keeper.path)
  const shell = await ttyd.shell(0)
  await pause(client, shell)
  shell.print('unseen ')
  client.socket.terminate()
  await areParked(keeper)
  const again = await openTerminal(t, keeper.path)
  await eventually(() => again.output().includes('unseen '), 'the screen')
  shell.print('seen')
  await eventually(() => /unseen.*seen$/.test(again.output()), 'and what follows')
})

t.test('a message of 16 MiB reaches the shell whole, in one frame or in many', async (t) => {
  const ttyd = await startScriptedTtyd(t)
  const keeper = await startTestKeeper(t, ttyd)
  const client = await openTerminal(t, keeper.path)
  const { socket, received } = await ttyd.shell(0)
  const digests: string[] = []
  socket.on('message', (data: Buffer) => digests.push(digest(data)))
  const paste = Buffer.alloc(16 * MIB, 'pasted text ')
  paste[0] = 0x30
  client.socket.send(paste)
  for (let i = 0; i < paste.length; i += 64 * 1024)
    client.socket.send(paste.subarray(i, i + 64 * 1024), { fin: i + 64 * 1024 >= paste.length })
  await eventually(() => received.length === 2, 'both arrive')
  t.same(digests, [digest(paste), digest(paste)])
})

t.test('a message of 33 MiB ends the connection, and not the shell', async (t) => {
  const ttyd = await startScriptedTtyd(t)
  const keeper = await startTestKeeper(t, ttyd)
  const client = await openTerminal(t, keeper.path)
  const shell = await ttyd.shell(0)
  client.socket.send(Buffer.alloc(33 * MIB, '0'))
  await areParked(keeper)
  const again = await openTerminal(t, keeper.path)
  t.equal(again.arrival, 'back')
  again.type('ls')
  await eventually(() => shell.received.includes('0ls'), 'the same shell')
  t.same(shell.received, ['0ls'])
})

t.test('parked output is read at 8 MiB a second', async (t) => {
  const ttyd = await startScriptedTtyd(t)
  const keeper = await startTestKeeper(t, ttyd)
  const client = await openTerminal(t, keeper.path)
  const shell = await ttyd.shell(0)
  client.socket.terminate()
  await areParked(keeper)
  const startedAt = performance.now()
  await pour(shell, 24 * MIB)
  await sent(shell)
  const seconds = (performance.now() - startedAt) / 1000
  t.ok(seconds >= 2.3, `24 MiB, of which the kernel holds some, took ${seconds} s`)
  const again = await openTerminal(t, keeper.path)
  await eventually(() => again.output().includes('the last line'), 'the screen')
})

function digest(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex')
}
