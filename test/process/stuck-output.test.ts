/** Does the program end when nothing reads its standard output and error, whatever kind of file they are? */
import { execFileSync, spawn, type ChildProcess, type StdioOptions } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, constants, existsSync, openSync, readFileSync, writeSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { spawn as spawnInTerminal } from '@lydell/node-pty'
import t, { type Test } from 'tap'
import { askAdmin } from '../../src/admin/ask.ts'
import type { Environment } from '../../src/config/load.ts'
import { codeOf } from '../../src/answers/errors.ts'
import { testSettings, token } from '../helpers/gateway.ts'
import { PATIENCE_MS } from '../helpers/port-keeper.ts'
import { MAIN, temporaryFolder } from '../helpers/process.ts'
import { startRawUpstream } from '../helpers/upstream.ts'
import { eventually } from '../helpers/waiting.ts'
import { open, requestBytes, send } from '../helpers/wire.ts'

/** The time that the end may take on a busy machine, in milliseconds. A blocked program would never end. */
const BOUND_MS = 15_000

/** How long the end is waited for, in milliseconds. */
const END_MS = 150_000

/** A program whose output the test does not read. */
interface Unread {
  /** Resolves with the exit code, or the name of the signal that ended it. */
  readonly exited: Promise<number | string>
  /** Blocks its output, where that is possible only while the program runs. */
  readonly stall?: () => void
}

type Start = (t: Test, args: readonly string[], env: Environment) => Unread

function ended(child: ChildProcess): Promise<number | string> {
  return once(child, 'exit').then(([code, signal]) => (code ?? signal) as number | string)
}

/** Starts the program with the given standard streams. */
function startWith(t: Test, args: readonly string[], env: Environment, stdio: StdioOptions) {
  const child = spawn(process.execPath, [MAIN, ...args], { env, stdio })
  const exited = ended(child)
  t.teardown(async () => {
    child.kill('SIGKILL')
    await exited
  })
  return { exited }
}

/** Makes a named pipe that is full and never read. */
function fullPipe(t: Test): number {
  const path = join(temporaryFolder(t), 'pipe')
  execFileSync('mkfifo', [path])
  const both = openSync(path, constants.O_RDWR | constants.O_NONBLOCK)
  const filling = Buffer.alloc(4096, '-')
  for (;;) {
    try {
      writeSync(both, filling)
    } catch (error) {
      if (codeOf(error) !== 'EAGAIN') throw error
      break
    }
  }
  const blocking = openSync(path, constants.O_WRONLY)
  t.teardown(() => {
    closeSync(both)
    closeSync(blocking)
  })
  return blocking
}

function namedPipe(t: Test, args: readonly string[], env: Environment): Unread {
  const pipe = fullPipe(t)
  return startWith(t, args, env, ['ignore', pipe, pipe])
}

/** Runs the program in a shell, with its output piped. */
function startInShell(script: string): Start {
  return (t, args, env) => {
    const status = join(temporaryFolder(t), 'status')
    const child = spawn('bash', ['-c', script, process.execPath, MAIN, ...args], {
      env: { ...env, PATH: process.env['PATH'], STATUS: status },
      stdio: 'ignore',
      detached: true,
    })
    t.teardown(() => {
      try {
        if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL') // the rest of the pipeline
      } catch {
        // The pipeline has ended.
      }
    })
    const said = async () => {
      await eventually(
        () => existsSync(status) && readFileSync(status, 'utf8').endsWith('\n'),
        'the end',
        END_MS,
      )
      return Number(readFileSync(status, 'utf8'))
    }
    return { exited: said() }
  }
}

/** The kinds of file that standard output can be. Standard error is the same file. */
const KINDS: Record<string, Start> = {
  'a named pipe that is full': namedPipe,
  'a pipe of the shell that is full': startInShell(
    `{ head -c 65536 /dev/zero; "$0" "$@" 2>&1; echo $? >"$STATUS"; } | exec sleep 600`,
  ),
  'a pipe whose reader is stopped': startInShell(
    `{ head -c 65536 /dev/zero; "$0" "$@" 2>&1; echo $? >"$STATUS"; } | { kill -STOP $BASHPID; cat; }`,
  ),
  'a pipe whose reader is gone': startInShell(`{ "$0" "$@" 2>&1; echo $? >"$STATUS"; } | true`),
  'a socket that nobody reads': (t, args, env) => {
    const reader = spawn('sleep', ['600'], { stdio: ['pipe', 'ignore', 'ignore'] })
    t.teardown(() => reader.kill('SIGKILL'))
    // The pipes that Node makes for a child process are sockets. One side fills the buffer; the other side is never read.
    const { exited } = startWith(t, args, env, ['ignore', reader.stdin, reader.stdin])
    return { exited }
  },
  'a full disk': (t, args, env) => {
    const full = openSync('/dev/full', 'w')
    t.teardown(() => closeSync(full))
    return startWith(t, args, env, ['ignore', full, full])
  },
  'a terminal that is stopped': (t, args, env) => {
    const { promise: exited, resolve } = Promise.withResolvers<number | string>()
    const terminal = spawnInTerminal(process.execPath, [MAIN, ...args], {
      env: Object.fromEntries(Object.entries(env).filter(([, value]) => value !== undefined)),
    })
    terminal.onExit(({ exitCode, signal }) => resolve(signal ? String(signal) : exitCode))
    t.teardown(() => terminal.kill('SIGKILL'))
    return { exited, stall: () => terminal.write('\u0013') } // Ctrl+S
  },
}

/** Starts a gateway whose output is blocked, makes it write to its log, and keeps one request in flight. */
async function startStuck(
  t: Test,
  start: Start,
  settings: Record<string, string | undefined> = {},
) {
  const folder = temporaryFolder(t)
  const stateDir = join(folder, 'state')
  const pidFile = join(folder, 'gateway.pid')
  const service = await startRawUpstream(t, () => {})
  const env = testSettings({
    GATEWAY_STATE_DIR: stateDir,
    GATEWAY_PID_FILE: pidFile,
    GATEWAY_DASHBOARD_URL: service.url,
    ...settings,
  })
  const { exited, stall } = start(t, ['serve'], env)
  await eventually(
    () => existsSync(pidFile) && existsSync(join(stateDir, 'admin.sock')),
    'it listens',
    PATIENCE_MS,
  )
  stall?.()
  const pid = Number(readFileSync(pidFile, 'utf8'))
  const { body } = await askAdmin(stateDir, '/status')
  const { pid: gatewayPid, listening } = JSON.parse(body) as { pid: number; listening: AddressInfo }
  const { port } = listening
  for (let i = 0; i < 300; i++) await send(port, `GET /${'x'.repeat(200)}${i}`)
  const held = await open(port)
  held.write(requestBytes('GET /held', [`Authorization: Bearer ${await token()}`]))
  await eventually(() => service.dials() === 1, 'in flight')
  return {
    exited,
    stateDir,
    pidFile,
    gatewayPid,
    signal: (name: NodeJS.Signals) => process.kill(pid, name),
    isDraining: async () => {
      const status = await askAdmin(stateDir, '/status')
      return (JSON.parse(status.body) as { draining: boolean }).draining
    },
  }
}

for (const [kind, start] of Object.entries(KINDS)) {
  t.test(`${kind}: the gateway stops within its drain time, with every step done`, async (t) => {
    const program = await startStuck(t, start)
    program.signal('SIGHUP')
    program.signal('SIGUSR2')
    const begun = performance.now()
    program.signal('SIGTERM')
    t.equal(await program.exited, 0)
    const took = performance.now() - begun
    t.ok(took < BOUND_MS, `${took} ms`)
    t.comment(`${kind}: ended after ${Math.round(took)} ms`)
    t.ok(existsSync(join(program.stateDir, 'budgets.json')), 'budgets are saved')
    t.notOk(existsSync(program.pidFile), 'the PID file is gone')
    t.notOk(existsSync(join(program.stateDir, 'admin.sock')), 'so is the admin door')
  })

  t.test(`${kind}: a second signal ends the gateway at once`, async (t) => {
    const program = await startStuck(t, start, { GATEWAY_DRAIN_SECONDS: '3600' })
    program.signal('SIGTERM')
    while (!(await program.isDraining())) await new Promise((resolve) => setImmediate(resolve))
    const begun = performance.now()
    program.signal('SIGTERM')
    t.equal(await program.exited, 1)
    const took = performance.now() - begun
    t.ok(took < BOUND_MS, `${took} ms`)
    t.comment(`${kind}: ended ${Math.round(took)} ms after the second signal`)
    t.notOk(existsSync(program.pidFile), 'the PID file is gone')
  })
}

t.test('the port keeper ends with its gateway', async (t) => {
  const program = await startStuck(t, namedPipe, { GATEWAY_HOT_RESTART: 'true' })
  program.signal('SIGTERM')
  t.equal(await program.exited, 0)
  t.ok(existsSync(join(program.stateDir, 'budgets.json')), 'budgets are saved')
  t.notOk(existsSync(program.pidFile), 'the PID file is gone')
})

t.test(
  'the port keeper ends at once on a second signal, even if the gateway handles none',
  async (t) => {
    const program = await startStuck(t, namedPipe, {
      GATEWAY_HOT_RESTART: 'true',
      GATEWAY_DRAIN_SECONDS: '3600',
    })
    process.kill(program.gatewayPid, 'SIGSTOP')
    program.signal('SIGTERM')
    program.signal('SIGINT')
    t.equal(await program.exited, 1)
    t.throws(() => process.kill(program.gatewayPid, 0), { code: 'ESRCH' }, 'nothing is left behind')
  },
)

t.test('an error at the start ends the program, whether or not its output is read', async (t) => {
  for (const [name, args, env, code] of [
    ['configuration', ['serve'], {}, 78],
    ['usage', ['serve', 'now'], {}, 64],
    [
      'kept',
      ['serve'],
      testSettings({ GATEWAY_HOT_RESTART: 'true', GATEWAY_HOST: '192.0.2.1' }),
      69,
    ],
  ] as const) {
    const { exited } = namedPipe(t, args, env)
    t.equal(await exited, code, name)
  }
})

t.test(
  'a thread that is blocked in a write neither delays the end nor changes the exit code',
  async (t) => {
    const ending = new URL('../../src/process/ending.ts', import.meta.url).href
    for (const code of [0, 1]) {
      const folder = temporaryFolder(t)
      const program = `
      import { write, writeFileSync } from 'node:fs'
      import { endProcess } from ${JSON.stringify(ending)}
      process.on('exit', (code) => writeFileSync(${JSON.stringify(join(folder, 'said'))}, String(code)))
      write(1, 'never read', () => {})
      setImmediate(() => endProcess(${code}))`
      const pipe = fullPipe(t)
      const child = spawn(
        process.execPath,
        ['--no-warnings', '--input-type=module', '--eval', program],
        {
          stdio: ['ignore', pipe, 'inherit'],
          env: {},
        },
      )
      t.teardown(() => child.kill('SIGKILL'))
      t.equal(await ended(child), code)
      t.equal(
        readFileSync(join(folder, 'said'), 'utf8'),
        String(code),
        'what is done at exit was done',
      )
    }
  },
)
