/** How does the keeper of terminals start, refuse to start, and stop? */
import { once } from 'node:events'
import { chmodSync, existsSync, mkdirSync, statSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import t from 'tap'
import { ALIVE_MS, canConnect } from '../../src/services/can-connect.ts'
import { openTerminal, startScriptedTtyd, TAB } from '../helpers/kept-terminals.ts'
import { run, temporaryFolder, type Program } from '../helpers/process.ts'
import { eventually } from '../helpers/waiting.ts'

type Tap = Parameters<typeof run>[0]

const start = (t: Tap, env: Record<string, string>): Program => run(t, ['terminals'], env)

/** A keeper's command that is expected to end. */
async function refusal(t: Tap, env: Record<string, string>) {
  const program = start(t, env)
  return { code: await program.exited, text: program.stderr(), stdout: program.stdout() }
}

t.test('the socket is for its owner only, belongs to one keeper, and goes with it', async (t) => {
  const TERMINALS_SOCKET = join(temporaryFolder(t), 'terminals.sock')
  const keeper = start(t, { TERMINALS_SOCKET })
  t.match(await keeper.logged('keeping terminals'), { socket: TERMINALS_SOCKET, pid: keeper.pid })
  t.equal(statSync(TERMINALS_SOCKET).mode & 0o777, 0o600)

  const second = await refusal(t, { TERMINALS_SOCKET })
  t.equal(second.code, 69)
  t.match(second.text, /^workspace-gateway: TERMINALS_SOCKET ".+" is in use: another keeper/)
  t.equal(second.text.trim().split('\n').length, 1, 'no stack')
  t.ok(existsSync(TERMINALS_SOCKET), 'the first one keeps it')

  keeper.child.kill('SIGTERM')
  t.equal(await keeper.exited, 0)
  t.notOk(existsSync(TERMINALS_SOCKET))
})

/** The path of the socket that a killed keeper has left. */
async function socketOfKilled(t: Tap): Promise<string> {
  const path = join(temporaryFolder(t), 'terminals.sock')
  const killed = start(t, { TERMINALS_SOCKET: path })
  await killed.logged('keeping terminals')
  killed.child.kill('SIGKILL')
  await killed.exited
  t.ok(existsSync(path), 'left over')
  return path
}

t.test('the file of a keeper that was killed is replaced', async (t) => {
  const TERMINALS_SOCKET = await socketOfKilled(t)
  const keeper = start(t, { TERMINALS_SOCKET })
  await keeper.logged('keeping terminals')
  t.equal(statSync(TERMINALS_SOCKET).mode & 0o777, 0o600)
})

t.test('of two that start in the same moment one serves, and the other says why not', async (t) => {
  const TERMINALS_SOCKET = await socketOfKilled(t)
  const keepers = [start(t, { TERMINALS_SOCKET }), start(t, { TERMINALS_SOCKET })]
  const loser = await Promise.race(
    keepers.map(async (keeper) => {
      await keeper.exited
      return keeper
    }),
  )
  const [winner] = keepers.filter((keeper) => keeper !== loser)
  t.equal(await loser.exited, 69)
  t.match(loser.stderr(), /^workspace-gateway: TERMINALS_SOCKET ".+" is in use: another keeper/)
  await winner?.logged('keeping terminals')
  t.ok(await canConnect({ path: TERMINALS_SOCKET }, ALIVE_MS))
  winner?.child.kill('SIGTERM')
  t.equal(await winner?.exited, 0)
  t.notOk(existsSync(TERMINALS_SOCKET))
})

t.test('a path that cannot be used is named with its setting', async (t) => {
  const folder = temporaryFolder(t)
  const file = join(folder, 'file')
  writeFileSync(file, 'precious')
  const other = createServer().listen(join(folder, 'other.sock'))
  t.teardown(() => other.close())
  await once(other, 'listening')
  const locked = join(folder, 'locked')
  mkdirSync(locked)
  chmodSync(locked, 0o500)
  for (const [path, code, why] of [
    [
      join(folder, 'missing', 'a.sock'),
      78,
      /cannot be created \(ENOENT\): its folder does not exist;/,
    ],
    [join(file, 'a.sock'), 78, /cannot be created \(ENOTDIR\): a part of its path is no folder/],
    ...(process.geteuid?.() === 0
      ? []
      : [[join(locked, 'a.sock'), 78, /\(EACCES\): its folder may not be written to/] as const]),
    [file, 69, /in use: .*a file of another kind/],
    [join(folder, 'other.sock'), 69, /in use/],
  ] as const) {
    const { code: exitCode, text } = await refusal(t, { TERMINALS_SOCKET: path })
    t.equal(exitCode, code, path)
    t.match(text, /TERMINALS_SOCKET "/)
    t.match(text, why)
    t.notMatch(text, /\n\s+at /)
  }
  t.ok(statSync(file).isFile(), 'a file that is no socket stays')
})

t.test('every problem of its settings is said at once, and nothing listens', async (t) => {
  const socket = join(temporaryFolder(t), 'terminals.sock')
  const { code, text, stdout } = await refusal(t, {
    TERMINALS_SOCKET: socket,
    TERMINALS_TTYD_URL: 'ftp://x',
    TERMINALS_PARK_SECONDS: '-1',
    TERMINALS_SCROLLBACK: '1e9',
    TERMINALS_PARC_SECONDS: '1',
  })
  t.equal(code, 78)
  for (const problem of [
    /TERMINALS_TTYD_URL "ftp:\/\/x"/,
    /TERMINALS_PARK_SECONDS "-1"/,
    /TERMINALS_SCROLLBACK "1e9"/,
    /TERMINALS_PARC_SECONDS is not a setting; did you mean TERMINALS_PARK_SECONDS\?/,
  ])
    t.match(text, problem)
  t.equal(stdout, '')
  t.notOk(existsSync(socket))
})

t.test('SIGTERM tells clients 1012, ends shells, and waits for nobody', async (t) => {
  const TERMINALS_SOCKET = join(temporaryFolder(t), 'terminals.sock')
  const ttyd = await startScriptedTtyd(t)
  const keeper = start(t, { TERMINALS_SOCKET, TERMINALS_TTYD_URL: ttyd.url })
  await keeper.logged('keeping terminals')
  const client = await openTerminal(t, TERMINALS_SOCKET)
  const parked = await openTerminal(t, TERMINALS_SOCKET, { tab: `${TAB}-parked` })
  const deaf = await openTerminal(t, TERMINALS_SOCKET, { tab: `${TAB}-deaf` })
  await ttyd.shell(2)
  await eventually(
    () => [client, parked, deaf].every(({ messages }) => messages.length > 1),
    'open',
  )
  parked.socket.terminate()
  await keeper.logged('terminal parked')
  const comingBack = await openTerminal(t, TERMINALS_SOCKET, {
    tab: `${TAB}-parked`,
    first: undefined,
  })
  deaf.socket.pause()

  keeper.child.kill('SIGTERM')
  await eventually(() => client.closedWith() !== undefined, 'the close')
  t.equal(client.closedWith(), 1012)
  t.match(client.output(), /The keeper of terminals restarts, and this shell ends with it\.\r\n$/)
  await eventually(() => ttyd.shells.every((shell) => shell.hasEnded()), 'the shells end')
  t.equal(await keeper.exited, 0)
  t.notOk(existsSync(TERMINALS_SOCKET))
  await eventually(() => comingBack.closedWith() !== undefined, 'one that was coming back')
  const ended = keeper.logLines().filter(({ msg }) => msg === 'terminal ended')
  t.same([...new Set(ended.map(({ reason }) => reason))], ['the keeper stops'])
  t.equal(ended.length, 3)
})

t.test('a second signal ends it at once, whoever has not answered', async (t) => {
  const TERMINALS_SOCKET = join(temporaryFolder(t), 'terminals.sock')
  const ttyd = await startScriptedTtyd(t)
  const keeper = start(t, { TERMINALS_SOCKET, TERMINALS_TTYD_URL: ttyd.url })
  await keeper.logged('keeping terminals')
  const deaf = await openTerminal(t, TERMINALS_SOCKET)
  await ttyd.shell(0)
  deaf.socket.pause() // does not answer the close frame
  // Both come in the same moment, because it does not run in between. Two of the same number would be one.
  keeper.child.kill('SIGSTOP')
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGCONT'] as const) keeper.child.kill(signal)
  t.equal(await keeper.exited, 1)
})

t.test('signals that are meant for a gateway end no shell', async (t) => {
  const TERMINALS_SOCKET = join(temporaryFolder(t), 'terminals.sock')
  const ttyd = await startScriptedTtyd(t)
  const keeper = start(t, { TERMINALS_SOCKET, TERMINALS_TTYD_URL: ttyd.url })
  await keeper.logged('keeping terminals')
  const client = await openTerminal(t, TERMINALS_SOCKET)
  const shell = await ttyd.shell(0)
  for (const signal of ['SIGHUP', 'SIGUSR2'] as const) {
    keeper.child.kill(signal)
    await keeper.logged(`nothing to be done on ${signal} for the keeper of terminals`)
  }
  client.type('x')
  await eventually(() => shell.received.includes('0x'), 'the shell goes on')
})

t.test('a ttyd that does not answer does not keep it from stopping', async (t) => {
  const TERMINALS_SOCKET = join(temporaryFolder(t), 'terminals.sock')
  const ttyd = await startScriptedTtyd(t)
  ttyd.holdHandshakes()
  const keeper = start(t, { TERMINALS_SOCKET, TERMINALS_TTYD_URL: ttyd.url })
  await keeper.logged('keeping terminals')
  const opening = openTerminal(t, TERMINALS_SOCKET).catch(() => 'refused')
  await eventually(() => ttyd.dials() === 1, 'ttyd is asked')
  keeper.child.kill('SIGTERM')
  t.equal(await keeper.exited, 0, 'by itself, and not by its time limit')
  t.equal(await opening, 'refused')
})
