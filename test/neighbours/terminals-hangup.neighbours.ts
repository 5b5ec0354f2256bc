/** What ends with a shell? ttyd hangs up on it (SIGHUP), so everything that does not ignore that, as when a modem's line was cut. */
import t, { type Test } from 'tap'
import {
  openTerminal,
  startTestKeeper,
  tokenOf,
  type TestClient,
} from '../helpers/kept-terminals.ts'
import { isAlive } from '../helpers/waiting.ts'
import { FOLDER, until } from './neighbour.ts'
import * as ttyd from './ttyd.ts'

await ttyd.install(FOLDER)
const credential = `${ttyd.CREDENTIAL.username}:${ttyd.CREDENTIAL.password}`

/** Bash, as in examples/fly/boot.sh, with a command that runs. */
interface BusyShell {
  readonly client: TestClient
  readonly shell: number
  /** The process that the command has started; undefined for one that starts none. */
  readonly child: number | undefined
}

/** Types a line, and waits for a number in its answer. */
async function ask({ type, output }: TestClient, line: string, answer: RegExp): Promise<number> {
  const from = output().length
  type(`${line}\r`)
  const match = await until(line, () => answer.exec(output().slice(from)))
  return Number(match?.[1])
}

async function busyShell(t: Test, path: string, sid: string, command: string): Promise<BusyShell> {
  const tab = `${sid}-tab`.padEnd(16, '-')
  const client = await openTerminal(t, path, { sid, tab, credential, token: tokenOf(credential) })
  await until('a prompt', () => client.output().includes('$ '))
  client.type('exec bash --norc\r')
  const shell = await ask(client, 'echo "PID-$$-$BASH_VERSION-"', /PID-(\d+)-\d/)
  t.teardown(() => end(shell))
  if (command === '') return { client, shell, child: undefined }
  // A process says its own number, so that it is known before the terminal belongs to it.
  const child = await ask(client, command, /CHILD-(\d+)-/)
  t.teardown(() => end(child))
  return { client, shell, child }
}

function end(pid: number): void {
  if (isAlive(pid)) process.kill(pid, 'SIGKILL')
}

/** A process that says its number, in quotes so that the echo of the line does not look like it. */
const CHILD = `sh -c 'echo "CHILD"-$$-; exec sleep 1000'`

const ENDS = {
  'at a prompt': '',
  'with a program': CHILD,
  'with a job in the background': `${CHILD} &`,
  'with a program that is stopped': CHILD,
}

/** What a person has told to go on, and whether the shell itself does. */
const GOES_ON = {
  'a program of nohup': { command: `nohup ${CHILD} | cat &`, isShellLeft: false },
  'a program of setsid': { command: `setsid ${CHILD} &`, isShellLeft: false },
  'a shell that ignores it': { command: `trap '' HUP; ${CHILD}`, isShellLeft: true },
}

t.test('after a sign-out the shell, its programs and its jobs are gone', async (t) => {
  const real = await ttyd.startTtyd(FOLDER)
  t.teardown(() => real.stop())
  const keeper = await startTestKeeper(t, real)
  for (const [what, command] of Object.entries(ENDS)) {
    for (const isParked of [false, true]) {
      const { client, shell, child } = await busyShell(t, keeper.path, 'session-1', command)
      if (/stopped/.test(what)) {
        client.type('\x1a')
        await until('it stops', () => /Stopped/.test(client.output()))
      }
      if (isParked) {
        client.socket.terminate()
        await until('it is parked', () => keeper.terminals.counts().parked === 1)
      }
      const endedAt = performance.now()
      t.equal((await keeper.ask('DELETE', '/_terminals?sid=session-1')).body, '{"ended":1}')
      const isOver = () => !isAlive(shell) && (child === undefined || !isAlive(child))
      await until(`the end of a shell ${what}`, isOver, 60_000, 10)
      const ms = Math.round(performance.now() - endedAt)
      t.comment(`${what}, ${isParked ? 'parked' : 'attached'}: ${ms} ms`)
      await until('it is forgotten', () => keeper.terminals.size === 0)
    }
  }
})

t.test('what was told to ignore a hang-up goes on, and no page gets it again', async (t) => {
  const real = await ttyd.startTtyd(FOLDER)
  t.teardown(() => real.stop())
  const keeper = await startTestKeeper(t, real)
  for (const [what, { command, isShellLeft }] of Object.entries(GOES_ON)) {
    const { shell, child = 0 } = await busyShell(t, keeper.path, 'session-1', command)
    await keeper.ask('DELETE', '/_terminals?sid=session-1')
    await until('it is forgotten', () => keeper.terminals.size === 0)
    if (!isShellLeft) await until('the shell ends', () => !isAlive(shell))
    t.equal(isAlive(child), true, what)
    t.equal(isAlive(shell), isShellLeft, what)
    const again = await busyShell(t, keeper.path, 'session-1', '')
    t.equal(again.client.arrival, 'new')
    t.not(again.shell, shell)
    await keeper.ask('DELETE', '/_terminals?sid=session-1')
  }
})

t.test('with --signal 9 no shell goes on, but its jobs do', async (t) => {
  const real = await ttyd.startTtyd(FOLDER, { options: ['--signal', '9'] })
  t.teardown(() => real.stop())
  const keeper = await startTestKeeper(t, real)
  const command = `trap '' HUP; ${CHILD} &`
  const { shell, child = 0 } = await busyShell(t, keeper.path, 'session-1', command)
  await keeper.ask('DELETE', '/_terminals?sid=session-1')
  await until('the shell ends', () => !isAlive(shell), 60_000, 10)
  t.equal(isAlive(child), true)
})
