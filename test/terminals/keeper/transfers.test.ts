/** Does a file that is sent through a terminal arrive whole, and what happens when the connection is cut meanwhile? */
import t, { type Test } from 'tap'
import {
  openShell,
  openTerminal,
  startScriptedTtyd,
  startTestKeeper,
  cutOff,
  TestClock,
  type ScriptedShell,
  type TestClient,
} from '../../helpers/kept-terminals.ts'
import { eventually, standsStill } from '../../helpers/waiting.ts'

const MIB = 1024 * 1024

/** What `sz` says first, and what the page answers. */
const ZRQINIT = '**\x18B00000000000000\r\x8a\x11'
const ZRINIT = '**\x18B0100000023be50\r\x8a\x11'
const ZFIN = '**\x18B0800000000022d\r\x8a'
const CANCEL = '\x18'.repeat(8) + '\b'.repeat(8)

/** The bytes of a file. No two parts of it are alike. */
function fileBytes(size: number): Buffer {
  const bytes = Buffer.alloc(size)
  for (let i = 0; i < size; i += 4) bytes.writeUInt32LE((i * 2654435761) >>> 0, i)
  return Buffer.from(bytes.map((byte) => (byte === 0x18 || byte === 0x2a ? 0x40 : byte)))
}

async function start(t: Test, clock = new TestClock()) {
  const ttyd = await startScriptedTtyd(t)
  const keeper = await startTestKeeper(t, ttyd, {}, { clock })
  const { client, shell } = await openShell(t, keeper, ttyd)
  const bytes: Buffer[] = []
  let length = 0
  client.socket.on('message', (data: Buffer) => {
    bytes.push(data.subarray(1))
    length += data.length - 1
  })
  return {
    ...{ ttyd, keeper, client, shell, clock },
    received: () => Buffer.concat(bytes),
    length: () => length,
  }
}

/** `sz` begins, and the page answers. */
async function begin(shell: ScriptedShell, client: TestClient): Promise<void> {
  shell.print(Buffer.from(`rz\r${ZRQINIT}`, 'latin1'))
  await eventually(() => client.output().includes('**\x18B00'), 'the first word')
  client.socket.send(Buffer.from(`0${ZRINIT}`, 'latin1'))
  await eventually(() => shell.received.some((text) => text.includes('B0100')), 'the answer')
}

/** Prints a file in messages as large as ttyd's. */
function printFile(shell: ScriptedShell, file: Buffer): void {
  for (let i = 0; i < file.length; i += 4096) shell.print(file.subarray(i, i + 4096))
}

/** What is shown to a page that comes back. */
async function screenFor(t: Test, path: string, includes: string): Promise<TestClient> {
  const client = await openTerminal(t, path)
  await eventually(() => client.output().includes(includes), `the screen with ${includes}`)
  return client
}

t.test('a slow client gets every byte, and the shell waits for it', async (t) => {
  const { keeper, client, shell, received, length } = await start(t)
  await begin(shell, client)
  const before = length()
  client.socket.pause()
  const file = fileBytes(8 * MIB)
  printFile(shell, file)
  await standsStill(() => shell.socket.bufferedAmount, 'what the shell has written')
  t.ok(shell.socket.bufferedAmount > 2 * MIB, 'it waits')
  let pongs = 0
  shell.socket.on('pong', () => pongs++)
  await eventually(() => pongs > 1, 'ttyd, whose pings nobody reads, hears that the keeper lives')
  client.socket.resume()
  await eventually(() => length() >= before + file.length, 'all of it')
  t.ok(received().subarray(before).equals(file))
  shell.print(Buffer.from(ZFIN, 'latin1'))
  await eventually(() => client.output().includes(ZFIN.slice(0, 6)), 'good-bye of the program')
  client.socket.send(Buffer.from(`0${ZFIN}`, 'latin1'))
  await eventually(
    () => shell.received.some((text) => text.includes('B08')),
    'good-bye of the page',
  )
  shell.print('OO')
  shell.print('\r\n$ done')
  await eventually(() => client.output().endsWith('$ done'), 'the prompt')
  await cutOff(keeper, client)
  const screen = (await screenFor(t, keeper.path, '$ done')).output()
  t.notMatch(screen, /OO|cut off|@/, 'nothing of the file is on the screen')
})

t.test('a transfer from the page ends with the good-bye of the program', async (t) => {
  const { keeper, client, shell } = await start(t)
  shell.print(Buffer.from(`rz waiting to receive.${ZRINIT}`, 'latin1'))
  client.socket.send(Buffer.from('0*\x18C\x04 a file', 'latin1'))
  await eventually(() => shell.received.length === 1, 'it has begun')
  shell.print(Buffer.from('**\x18B09', 'latin1'))
  client.socket.send(Buffer.from(`0${ZFIN}`, 'latin1'))
  await eventually(() => shell.received.length === 2, 'good-bye')
  shell.print(Buffer.from(ZFIN.slice(0, 5), 'latin1'))
  shell.print(Buffer.from(`${ZFIN.slice(5)}$ done`, 'latin1'))
  await eventually(() => client.output().endsWith('$ done'), 'the prompt')
  await cutOff(keeper, client)
  const screen = (await screenFor(t, keeper.path, '$ done')).output()
  t.notMatch(screen, /B09|cut off/)
})

t.test(
  'a transfer that is cut off is cancelled in the shell, and the person reads it',
  async (t) => {
    const { keeper, client, shell, ttyd } = await start(t)
    await begin(shell, client)
    printFile(shell, fileBytes(MIB))
    // At once, because what comes after a pause is not of the transfer any more.
    shell.socket.on('message', (data: Buffer) => {
      if (data.toString() !== `0${CANCEL}`) return
      shell.print(fileBytes(1000))
      shell.print(Buffer.from('\x01\x02\xb7\r\x1b[?2004h$ ', 'latin1'))
    })
    await cutOff(keeper, client)
    await eventually(() => shell.received.includes(`0${CANCEL}`), 'it is cancelled')
    const again = await screenFor(t, keeper.path, 'The file transfer was cut off')
    t.ok(again.messages[0]?.startsWith(`0${CANCEL}`), 'the page is told too')
    await eventually(() => again.output().includes('$ '), 'the prompt')
    t.notMatch(again.output(), /@/, 'nothing of the file is on the screen')
    again.type('ls')
    await eventually(() => shell.received.includes('0ls'), 'the shell goes on')
    t.equal(ttyd.shells.length, 1)
    await cutOff(keeper, again)
    const third = await screenFor(t, keeper.path, '$ ')
    t.notOk(third.messages[0]?.includes(CANCEL), 'only once')
  },
)

t.test('trzsz is cancelled by Ctrl-C', async (t) => {
  const { keeper, client, shell } = await start(t)
  shell.print('::TRZSZ:TRANSFER:S:1.1.6:0123456789012\r\n')
  client.type(`#ACT:${Buffer.from('{"lang":"js","confirm":true}').toString('base64')}\n`)
  await eventually(() => shell.received.length === 1, 'it has begun')
  shell.print('#DATA:unseen\n')
  await eventually(() => client.output().includes('#DATA'), 'the file')
  await cutOff(keeper, client)
  await eventually(() => shell.received.includes('0\x03'), 'it is cancelled')
  const again = await screenFor(t, keeper.path, 'The file transfer was cut off')
  t.notMatch(again.output(), /#DATA/)
})

t.test('what ends a transfer', async (t) => {
  const ends: Record<string, (shell: ScriptedShell, client: TestClient, clock: TestClock) => void> =
    {
      'the page gives up': (_shell, client) => client.type(CANCEL),
      'the program gives up': (shell) => shell.print('\x18\x18\x18\x18\x18\x18\b\b\b'),
      'the program gives up in two messages': (shell) => {
        shell.print('\x18\x18\x18')
        shell.print('\x18\x18\x18')
      },
      'a key is pressed': (_shell, client) => client.type('\x03'),
      'nobody says anything': (_shell, _client, clock) => clock.pass(30_001),
    }
  for (const [name, end] of Object.entries(ends)) {
    const { keeper, client, shell, clock } = await start(t)
    await begin(shell, client)
    shell.print('unseen')
    await eventually(() => client.output().endsWith('unseen'), 'the file')
    end(shell, client, clock)
    keeper.terminals.check()
    client.type('said')
    await eventually(() => shell.received.includes('0said'), name)
    shell.print('seen')
    await eventually(() => client.output().endsWith('seen'), 'text')
    await cutOff(keeper, client)
    const again = await screenFor(t, keeper.path, 'seen')
    t.notMatch(again.output(), /unseen|cut off/, name)
    again.type('behind what the cut could have said')
    await eventually(() => /behind/.test(shell.received.at(-1) ?? ''), 'the shell goes on')
    const cancels = shell.received.filter((text) => text === `0${CANCEL}`).length
    t.equal(cancels, name === 'the page gives up' ? 1 : 0, 'the keeper cancels nothing')
  }
})

t.test('nothing that a shell prints begins a transfer', async (t) => {
  const { keeper, client, shell } = await start(t)
  for (const text of [
    ZRQINIT,
    ZRINIT,
    ZFIN,
    '::TRZSZ:TRANSFER:S:1.1.6:1\r\n',
    '#ACT:AAAAAAAAAAAAAAAAAAAA\n',
  ])
    shell.print(Buffer.from(text, 'latin1'))
  client.type('**')
  client.type('#ACT:')
  shell.print('a line\r\n')
  await eventually(() => client.output().endsWith('a line\r\n'), 'the output')
  await cutOff(keeper, client)
  const again = await screenFor(t, keeper.path, 'a line')
  t.notMatch(again.output(), /cut off/)
  again.type('x')
  await eventually(() => shell.received.includes('0x'), 'what is behind a cancellation')
  t.same(shell.received, ['0**', '0#ACT:', '0x'])
})
