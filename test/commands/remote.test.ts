/** Does `remote` open the workspace's terminal in that of another machine, and leave that as it was? */
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { chmodSync, existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { createServer, type AddressInfo } from 'node:net'
import { dirname } from 'node:path'
import { Writable } from 'node:stream'
import t, { type Test } from 'tap'
import { remote } from '../../src/commands/remote.ts'
import { EscapeReader } from '../../src/commands/remote/escape.ts'
import type { TerminalStreams } from '../../src/commands/remote/own-terminal.ts'
import { runCommand } from '../helpers/command.ts'
import { configFolder, linkOf, pairingIn, startRemotePty } from '../helpers/remote-pty.ts'
import { startSurroundings } from '../helpers/remote-device.ts'
import { eventually } from '../helpers/waiting.ts'

const CTRL_C = '\u0003'
const CTRL_D = '\u0004'

/** Shows the modes of the terminal before and after, so that a test can compare them. */
const between = (command: string) =>
  `stty -g > before; ${command}; echo "exit=$?"; stty -g > after`.replaceAll(
    /before|after/g,
    (name) => `"$XDG_CONFIG_HOME/${name}"`,
  )

function modesAreAsBefore(t: Test, folder: string): void {
  const modes = ['before', 'after'].map((name) => readFileSync(`${folder}/${name}`, 'utf8'))
  t.equal(modes[1], modes[0], 'the terminal is as before')
}

t.test('a link opens a terminal, in which each key and each size reaches the shell', async (t) => {
  const { daemon, workspace } = await startSurroundings(t)
  const { folder, file } = configFolder(t)
  const link = linkOf(await daemon.offer())
  const pty = startRemotePty(t, folder, between(`remote '${link}' --name Laptop`))
  await pty.until(/paired as Laptop, device [\w-]{22}\r?\n/)
  await pty.until(/\$ /)
  t.equal((await daemon.welcomed(1)).name, 'Laptop')
  pty.type('ls\r')
  await pty.until(/you typed ls\r\n/)
  pty.type(CTRL_C)
  await eventually(() => workspace.typed.includes(CTRL_C), 'Ctrl-C is for the shell')
  pty.resize(100, 40)
  await eventually(() => workspace.sizes.includes('100x40'), 'the size')
  t.equal(workspace.sizes[0], '80x24')
  pty.type(CTRL_D)
  await pty.until(/exit=0/)
  await pty.over
  modesAreAsBefore(t, folder)
  t.equal(statSync(file).mode & 0o777, 0o600)
  t.equal(statSync(dirname(file)).mode & 0o777, 0o700)
  t.match(pairingIn(file), { version: 1, host: 'localhost', name: 'Laptop', target: 'gateway' })
  t.notMatch(readFileSync(file, 'utf8'), /token/)

  const again = startRemotePty(t, folder, 'remote')
  await again.until(/\$ /)
  again.type(CTRL_D)
  t.equal(await again.over, 0)
  t.equal((await daemon.welcomed(2)).deviceId, (await daemon.welcomed(1)).deviceId)
})

t.test(
  'a terminal asks for a second factor and for the password, and shows no password',
  async (t) => {
    const { daemon, workspace } = await startSurroundings(t)
    const { folder } = configFolder(t)
    workspace.factor = '123456'
    workspace.password = 'user:pass word'
    const link = linkOf(await daemon.offer())
    const pty = startRemotePty(t, folder, between(`remote '${link}'`))
    await pty.until(/detail of step-up-required\r?\n/)
    await pty.until(/Code of the authenticator app, or a backup code: /)
    pty.type('000000\r')
    await pty.until(/detail of step-up-required/)
    await pty.until(/backup code: /)
    pty.type('12345x\u007f6\r')
    await pty.until(/User of the terminal: /)
    pty.type('user\r')
    await pty.until(/Password of the terminal: /)
    pty.type('wrong one\r')
    await pty.until(/refuses this password/)
    await pty.until(/User of the terminal: /)
    pty.type('user\r')
    await pty.until(/Password of the terminal: /)
    pty.type('pass word\r')
    await pty.until(/\$ /)
    t.equal(workspace.lastHeaders['x-workspace-token'], workspace.token)
    t.notMatch(pty.shown(), /pass word|wrong one/)
    pty.type(CTRL_D)
    await pty.until(/exit=0/)
    await pty.over
    modesAreAsBefore(t, folder)
  },
)

t.test('a person who has no code leaves with Ctrl-C', async (t) => {
  const { daemon, workspace } = await startSurroundings(t)
  const { folder } = configFolder(t)
  workspace.factor = '123456'
  const link = linkOf(await daemon.offer())
  const pty = startRemotePty(t, folder, between(`remote '${link}'`))
  await pty.until(/backup code: /)
  pty.type(CTRL_C)
  await pty.until(/ended by you/)
  await pty.until(/exit=1/)
  await pty.over
  modesAreAsBefore(t, folder)
  t.equal(workspace.terminals.size, 0)
})

t.test('Enter, a tilde and a full stop leave a shell, whose programs leave no trace', async (t) => {
  const { daemon } = await startSurroundings(t)
  const { folder } = configFolder(t)
  const link = linkOf(await daemon.offer())
  const pty = startRemotePty(t, folder, between(`remote '${link}'`))
  await pty.until(/\$ /)
  pty.type('vi\r~.')
  await pty.until(/\[\?1047l.\[\?25h/s) // the alternate screen, the cursor
  await pty.until(/\[\?1004l.*\[<9u/s) // reports of focus and keys
  await pty.until(/exit=0/)
  await pty.over
  modesAreAsBefore(t, folder)
})

t.test('a command that is ended by a signal leaves the terminal as before', async (t) => {
  const { daemon } = await startSurroundings(t)
  const { folder } = configFolder(t)
  const link = linkOf(await daemon.offer())
  const pty = startRemotePty(
    t,
    folder,
    between(
      `sh -c 'echo $$ > "$XDG_CONFIG_HOME/pid"; exec "$0" src/main.ts remote "$1"' '${process.execPath}' '${link}'`,
    ),
  )
  await pty.until(/\$ /)
  process.kill(Number(readFileSync(`${folder}/pid`, 'utf8')), 'SIGTERM')
  await pty.until(/exit=143/)
  await pty.over
  modesAreAsBefore(t, folder)
})

t.test('a shell that was lost is opened again, by the same tab', async (t) => {
  const { daemon, relay, workspace } = await startSurroundings(t)
  const { folder } = configFolder(t)
  const pty = startRemotePty(t, folder, between(`remote '${linkOf(await daemon.offer())}'`))
  await pty.until(/\$ /)
  relay.cut()
  await pty.until(/lost; opening it again/)
  await pty.until(/\$ /)
  pty.type('back\r')
  await pty.until(/you typed back/)
  const tabs = workspace.requests.filter((request) => request.startsWith('UPGRADE'))
  t.equal(tabs.length, 2)
  t.match(tabs[0], /\?tab=[\w-]{22}$/)
  t.equal(tabs[1], tabs[0])
  relay.refuse = { code: 1012, reason: '' }
  relay.cut()
  await pty.until(/lost; opening it again/)
  pty.type(CTRL_C)
  await pty.until(/exit=1/)
  await pty.over
  modesAreAsBefore(t, folder)
})

t.test('a machine that waits for approval shows the code', async (t) => {
  const { daemon } = await startSurroundings(t)
  daemon.state = 'waiting'
  const { folder } = configFolder(t)
  const pty = startRemotePty(t, folder, `remote '${linkOf(await daemon.offer())}'`)
  const [, code] = await pty.until(/its code is (\d{3} \d{3}) /)
  const channel = await daemon.welcomed(1)
  t.equal(code, channel.code)
  t.equal(daemon.streams, 0)
  channel.tell({ kind: 'approved', name: 'x' })
  await pty.until(/\$ /)
  pty.type(CTRL_D)
  t.equal(await pty.over, 0)
})

t.test('a link is asked for, so that it is in no list of processes', async (t) => {
  const { daemon } = await startSurroundings(t)
  const { folder } = configFolder(t)
  const link = linkOf(await daemon.offer())
  const pty = startRemotePty(t, folder, 'remote -')
  await pty.until(/Link: /)
  pty.type(`${link}\r`)
  await pty.until(/\$ /)
  t.notMatch(pty.shown(), link.slice(-20))
  pty.type(CTRL_D)
  t.equal(await pty.over, 0)
})

/** Streams that are no terminal, and what was written to them. */
function noTerminal() {
  const pieces: Buffer[] = []
  const stdout = new Writable({
    write(piece: Buffer, _encoding, done) {
      pieces.push(piece)
      done()
    },
  })
  const streams = { stdin: { isTTY: false }, stdout } as unknown as TerminalStreams
  return { streams, written: () => Buffer.concat(pieces) }
}

/** Runs the command without a terminal. */
async function script(folder: string, ...args: string[]) {
  const { streams, written } = noTerminal()
  const env = { XDG_CONFIG_HOME: folder, HOME: '/nonexistent' }
  const { code, err } = await runCommand(remote, args, env, streams)
  return { code, err, out: written() }
}

/** A machine that is paired. */
async function startPaired(t: Test, options?: { readonly now: () => number }) {
  const around = await startSurroundings(t, options)
  const { folder, file } = configFolder(t)
  const pty = startRemotePty(t, folder, `remote '${linkOf(await around.daemon.offer())}'`)
  await pty.until(/\$ /)
  pty.type(CTRL_D)
  t.equal(await pty.over, 0)
  return { ...around, folder, file }
}

t.test('a script gets answers as they are, and an exit code', async (t) => {
  const { folder, workspace, relay, daemon } = await startPaired(t)
  const bytes = Buffer.from([0, 255, 10, 13, 128])
  workspace.answer = (request, response) => {
    const status = request.url === '/missing' ? 404 : 200
    response.writeHead(status, {
      'X-Method': request.method,
      'X-Sent': String(request.headers['x-a']),
    })
    response.end(bytes)
  }
  t.match(await script(folder, 'request', '/x'), { code: 0, err: '', out: bytes })
  const shown = await script(folder, 'request', '-i', 'delete', '/x', '--header', 'X-A: b')
  t.match(shown.out.toString('latin1'), /^HTTP\/1\.1 200\n(?:.*\n)*x-method: DELETE\nx-sent: b\n\n/)
  const posted = await script(folder, 'request', '-i', '/x', '--data', 'abc')
  t.match(posted.out.toString('latin1'), 'x-method: POST')
  t.match(workspace.lastHeaders, { 'content-length': '3' })
  t.match(await script(folder, 'request', '/missing'), { code: 1, err: /the answer is 404/ })
  const requests = workspace.requests.length
  for (const args of [
    ['request'],
    ['request', 'x y z', '/'],
    ['request', 'GET', '/', '/'],
    ['request', '/', '--header', 'x'],
    ['request', 'CONNECT', '/'],
    ['request', 'x'],
  ])
    t.match(await script(folder, ...args), { code: 64 }, args.join(' '))
  t.equal(workspace.requests.length, requests, 'nothing was sent')
  daemon.close()
  await eventually(() => relay.places === 0, 'the daemon has left')
  t.match(await script(folder, 'request', '/x'), { code: 69, err: /not at the relay/ })
})

t.test('a script shows a second factor with --code', async (t) => {
  const { folder, workspace } = await startPaired(t)
  workspace.factor = '123456'
  t.match(await script(folder, 'request', '/terminal/token'), { code: 1, err: /--code/ })
  const wrong = await script(folder, 'request', '/terminal/token', '--code', '1')
  t.match(wrong, { code: 1, err: /detail of step-up-required/ })
  t.equal((await script(folder, 'request', '/terminal/token', '--code', '123456')).code, 0)
})

t.test('a machine whose clock is wrong by weeks is paired, and comes back', async (t) => {
  const weeks = 21 * 86_400_000
  const { folder, file, relay, daemon } = await startPaired(t, { now: () => Date.now() + weeks })
  t.ok(Math.abs(Number(pairingIn(file)['clockOffset']) - weeks) < 3_600_000)
  t.equal((await script(folder, 'request', '/')).code, 0)
  t.equal(relay.knocks, 2)
  t.equal((await daemon.welcomed(2)).deviceId, (await daemon.welcomed(1)).deviceId)
})

t.test('a person hears that the device was removed, and forgets the pairing', async (t) => {
  const { folder, file, daemon, workspace } = await startPaired(t)
  workspace.answer = () => {} // never
  const pty = startRemotePty(t, folder, 'remote')
  await pty.until(/\$ /)
  ;(await daemon.welcomed(2)).close('revoked')
  await pty.until(/has removed this device; pair it again/)
  t.equal(await pty.over, 1)
  t.match(await script(folder, 'forget'), { code: 0, err: /devices revoke [\w-]{22}/ })
  t.notOk(existsSync(file))
  t.match(await script(folder, 'forget'), { code: 1, err: /not paired/ })
  t.match(await script(folder, 'request', '/'), { code: 1, err: /not paired/ })
})

t.test('another link does not take the place of a pairing unasked', async (t) => {
  const { folder, daemon, relay } = await startPaired(t)
  const link = linkOf(await daemon.offer())
  const knocks = relay.knocks
  const refused = startRemotePty(t, folder, `remote '${link}'`)
  await refused.until(/paired with localhost already/)
  t.equal(await refused.over, 1)
  t.equal(relay.knocks, knocks, 'the link is not used up')
  const pty = startRemotePty(t, folder, `remote --replace '${link}'`)
  await pty.until(/\$ /)
  pty.type(CTRL_D)
  t.equal(await pty.over, 0)
})

t.test(
  'a pairing that cannot be trusted, or kept, is refused before anything is dialled',
  async (t) => {
    const { folder, file, daemon, relay } = await startPaired(t)
    const whole = readFileSync(file, 'utf8')
    const knocks = relay.knocks
    chmodSync(file, 0o640)
    t.match(await script(folder, 'request', '/'), { code: 78, err: /can be read by others/ })
    chmodSync(file, 0o600)
    const fields = pairingIn(file)
    for (const content of [
      '',
      'null',
      '{}',
      whole.slice(0, 100),
      whole.replace('"privateKey":"', '"privateKey":'),
      ...[
        { version: 2 },
        { relay: 'ws://192.0.2.1' },
        { host: 'a b' },
        { target: 'x' },
        { name: '' },
        { publicKey: 'AA' },
        { privateKey: 'AAAA' },
        { daemonKey: `${String(fields['daemonKey'])}=` },
        { placeSecret: 7 },
        { clockOffset: '7' },
        { clockOffset: 0.5 },
      ].map((change) => JSON.stringify({ ...fields, ...change })),
    ]) {
      writeFileSync(file, content)
      const { code, err } = await script(folder, 'request', '/')
      t.equal(code, 78, content)
      t.match(err, /cannot be used: .*remote forget/)
      t.notMatch(err, String(fields['privateKey']).slice(0, 6), 'nothing of it is told')
    }
    t.equal((await script(folder, 'forget')).code, 0, 'and can be forgotten')

    const link = linkOf(await daemon.offer())
    mkdirSync(file)
    const refused = startRemotePty(t, folder, `remote '${link}'; echo "exit=$?"`)
    await refused.until(/exit=78/)
    chmodSync(dirname(file), 0o777)
    const other = startRemotePty(t, folder, `remote --replace '${link}'; echo "exit=$?"`)
    await other.until(/others can write/)
    await other.until(/exit=78/)
    t.equal(relay.knocks, knocks)
  },
)

t.test('a wrong command line says what is meant', async (t) => {
  const { folder } = configFolder(t)
  t.match(await script(folder), { code: 64, err: /remote request PATH/ })
  t.match(await script(folder, 'a', 'b'), { code: 64 })
  const pty = startRemotePty(t, folder, "remote 'https://example.com/#123'; remote nonsense")
  await pty.until(/workspace-gateway pair" prints a link/)
  await pty.until(/workspace-gateway pair" prints a link/)
  t.equal(await pty.over, 64)
  const { streams } = noTerminal()
  t.match(await runCommand(remote, ['forget'], {}, streams), { code: 78, err: /HOME/ })
})

t.test(
  'a tilde is one for the shell, unless it begins a line and a full stop follows',
  async (t) => {
    for (const [typed, bytes, isLeaving] of [
      ['~.', '', true],
      ['ls\r~.', 'ls\r', true],
      ['ls\n~.', 'ls\n', true],
      ['ls~.', 'ls~.', false],
      ['~~.', '~.', false],
      ['~a.', '~a.', false],
      ['\r~\r~.', '\r~\r', true],
      ['~', '', false],
    ] as const) {
      for (const pieces of [[typed], Array.from(typed)]) {
        const reader = new EscapeReader()
        const read = pieces.map((piece) => reader.read(Buffer.from(piece)))
        t.equal(read.map((each) => Buffer.from(each.bytes).toString()).join(''), bytes, typed)
        t.equal(
          read.some((each) => each.isLeaving),
          isLeaving,
          typed,
        )
      }
    }
  },
)

t.test('a relay that sends pings without end is left, and may compress nothing', async (t) => {
  const { folder, file } = await startPaired(t)
  const heads: string[] = []
  let left = 0
  const relay = createServer((socket) => {
    socket.on('error', () => {})
    socket.on('close', () => void left++)
    socket.once('data', (data: Buffer) => {
      const head = data.toString('latin1')
      heads.push(head)
      const [, key = ''] = /sec-websocket-key: (.*)\r\n/i.exec(head) ?? []
      socket.write(
        `HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${acceptOf(key)}\r\n\r\n`,
      )
      // It reads no pong. What is sent after all fits nowhere but into the memory of this test.
      socket.pause()
      socket.write(Buffer.from(`\x89\x7d${'p'.repeat(125)}`.repeat(8000), 'latin1'))
    })
  })
  relay.listen(0, '127.0.0.1')
  await once(relay, 'listening')
  t.teardown(() => relay.close())
  const { port } = relay.address() as AddressInfo
  writeFileSync(file, JSON.stringify({ ...pairingIn(file), relay: `ws://127.0.0.1:${port}` }))
  t.match(await script(folder, 'request', '/x'), { code: 69 })
  t.equal(heads.length, 3, 'a script tries three times')
  for (const head of heads) t.notMatch(head, /sec-websocket-extensions/i)
  await eventually(() => left === 3, 'each connection is closed')
})

const acceptOf = (key: string) =>
  createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64')
