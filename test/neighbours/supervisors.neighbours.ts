/** Do real supervisors start, watch, restart and give up the gateway as docs/supervisors.md says? */
import { once } from 'node:events'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { request, type IncomingMessage } from 'node:http'
import { createServer, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { askAdmin } from '../../src/admin/ask.ts'
import type { KeeperReady } from '../../src/terminals/protocol.ts'
import { startUpstream } from '../helpers/upstream.ts'
import { freePort, run, startProgram, until } from './neighbour.ts'
import { install, SUPERVISORS, type Supervised, type Supervisor } from './supervisors.ts'
import { elapse, isAlive, runsProgram } from '../helpers/waiting.ts'

await install()

const MAIN = new URL('../../src/main.ts', import.meta.url).pathname

/** What one supervisor has in its care. */
interface Scene extends Supervised {
  readonly port: number
  readonly stateDir: string
  readonly pidFile: string
  readonly settings: Record<string, string>
  /** Waits until a gateway is there in every respect. @param than who it must not be @returns its process id */
  up(than?: number): Promise<number>
}

/** Puts a gateway into a supervisor's care; both are gone when the test ends. */
async function supervise(
  t: Test,
  supervisor: Supervisor,
  overrides: Record<string, string> = {},
  prepare: (pidFile: string) => void = () => {},
  keeper = false,
): Promise<Scene> {
  const folder = mkdtempSync(join(tmpdir(), 'workspace-gateway-supervised-'))
  const [port, stateDir, pidFile] = [
    await freePort(),
    join(folder, 'state'),
    join(folder, 'gateway.pid'),
  ]
  const settings = {
    GATEWAY_WORKSPACE: 'houston',
    GATEWAY_JWT_SECRET: 'supervised-key-of-houston-6c1f0d9e27b84a35',
    GATEWAY_HOST: '127.0.0.1',
    GATEWAY_PORT: String(port),
    GATEWAY_STATE_DIR: stateDir,
    GATEWAY_PID_FILE: pidFile,
    ...overrides,
  }
  prepare(pidFile)
  const socket = join(folder, 'terminals.sock')
  const supervised = await supervisor.start({
    folder,
    settings: keeper ? { ...settings, GATEWAY_TERMINAL_URL: `unix:${socket}` } : settings,
    ...(keeper ? { terminals: { TERMINALS_SOCKET: socket } } : {}),
  })
  t.teardown(async () => {
    const pid = await supervised.pid().catch(() => 0)
    await supervised.program.stop()
    if (pid > 0 && isAlive(pid)) process.kill(pid, 'SIGKILL') // a supervisor that had to be killed leaves it behind
    rmSync(folder, { recursive: true, force: true })
  })
  return {
    ...supervised,
    port: Number(settings.GATEWAY_PORT),
    stateDir,
    pidFile,
    settings,
    up: (than) =>
      until('the gateway', async () => {
        const pid = await supervised.pid()
        // It answers a moment before its admin door is open and signals are heard; its number is written after that.
        const isUp = (await isLive(Number(settings.GATEWAY_PORT))) && pid !== than
        return isUp && readFileSync(pidFile, 'utf8') === `${pid}\n` ? pid : 0
      }),
  }
}

async function isLive(port: number): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>()
  request({ host: '127.0.0.1', port, path: '/_gateway/live', agent: false }, (answer) => {
    answer.resume()
    resolve(answer.statusCode === 200)
  })
    .on('error', () => resolve(false))
    .end()
  return promise
}

/** What the keeper of terminals says of itself; undefined while nobody answers. */
async function ready(socketPath: string): Promise<KeeperReady | undefined> {
  const asked = request({ socketPath, path: '/_ready', agent: false }).end()
  try {
    const [answer] = (await once(asked, 'response')) as [IncomingMessage]
    return JSON.parse(Buffer.concat(await answer.toArray()).toString()) as KeeperReady
  } catch {
    return undefined
  }
}

for (const supervisor of SUPERVISORS) {
  t.test(`${supervisor.name}: start, restart, crash, double start and stop`, async (t) => {
    const service = await startUpstream(t, () => {}) // never answers
    const scene = await supervise(t, supervisor, {
      GATEWAY_HEALTH_STRICT: 'true',
      GATEWAY_API_URL: service.url,
    })
    const first = await scene.up()
    await runsProgram(first, /main\.ts\0serve/) // it is the gateway itself

    await scene.ask('restart')
    const second = await scene.up(first)
    await until('its last line', () => scene.output().includes('"msg":"stopped"'))
    await until('the end of the first', () => !isAlive(first))

    const twice = startProgram(process.execPath, [MAIN, 'serve'], {
      env: { ...scene.settings, GATEWAY_PORT: '0' },
    })
    t.equal(await twice.exited, 69)
    t.match(twice.output(), `names process ${second}, which is running`)
    t.ok(await isLive(scene.port), 'the first one was not touched')

    const token = await run(process.execPath, [MAIN, 'token', '--sub', 'alice'], {
      env: scene.settings,
    })
    const answer = request({
      host: '127.0.0.1',
      port: scene.port,
      path: '/api/slow',
      headers: { Host: 'houston.hubify.com', Authorization: `Bearer ${token.trim()}` },
    })
    answer.end()
    const broken = once(answer, 'response').then(
      ([{ statusCode }]) => (statusCode as IncomingMessage['statusCode']) ?? 0,
      (error: NodeJS.ErrnoException) => error.code,
    )
    await until('the request in flight', () => service.dials() > 0)
    process.kill(second, 'SIGKILL')
    t.equal(await broken, 'ECONNRESET', 'what was under way breaks off')
    const third = await scene.up(second)
    t.equal((await askAdmin(scene.stateDir, '/status')).status, 200, 'its admin door too')

    await scene.ask('stop')
    await until('the end', () => !isAlive(third))
    t.notOk(existsSync(scene.pidFile))
    t.notOk(await isLive(scene.port))
    await scene.ask('start')
    if (supervisor.name !== 'bash with PID files') t.ok((await scene.up(third)) > 0)
  })

  t.test(
    `${supervisor.name}: a number in the PID file that is another program's by now`,
    async (t) => {
      const other = startProgram('sleep', ['1000'])
      t.teardown(() => other.stop())
      const scene = await supervise(t, supervisor, {}, (pidFile) =>
        writeFileSync(pidFile, `${other.pid}\n`),
      )
      await scene.up()
      t.ok(isAlive(other.pid), 'which nobody ends')
    },
  )

  t.test(`${supervisor.name}: a taken port is tried again until it is free`, async (t) => {
    const other = createServer().listen(0, '127.0.0.1')
    await once(other, 'listening')
    t.teardown(() => other.close())
    const { port } = other.address() as AddressInfo
    const scene = await supervise(t, supervisor, { GATEWAY_PORT: String(port) })
    const line = `GATEWAY_HOST 127.0.0.1 GATEWAY_PORT ${port} is taken by another process`
    await until('two attempts', () => scene.output().split(line).length > 2)
    other.close()
    t.ok((await scene.up()) > 0)
  })

  t.test(`${supervisor.name}: a wrong configuration is given up, with its reason`, async (t) => {
    const scene = await supervise(t, supervisor, { GATEWAY_RATE_LIMIT: 'ten' })
    const reason = /^ {2}GATEWAY_RATE_LIMIT "ten" is not a whole number.*$/gm
    const attempts = () => scene.output().match(reason)?.length ?? 0
    const isGivenUp = async () => supervisor.givenUp.test(await scene.state())
    await until('giving up', async () => attempts() > 0 && (await isGivenUp()))
    t.comment(await scene.state())
    const made = attempts()
    t.ok(made <= supervisor.attempts, `${made} attempts`)
    await elapse(3000, 'what is to be tried again is tried after a second')
    t.ok(await isGivenUp(), 'and it stays so')
    t.equal(attempts(), made)
  })

  t.test(`${supervisor.name}: a gateway restart leaves the keeper of terminals`, async (t) => {
    const scene = await supervise(t, supervisor, {}, () => {}, true)
    const socket = join(scene.pidFile, '../terminals.sock')
    const first = await scene.up()
    const readySince = () => until('the keeper', async () => (await ready(socket))?.startedAt)
    const startedAt = await readySince()
    const keeper = await scene.keeperPid()
    t.ok(keeper > 0 && isAlive(keeper))
    await runsProgram(keeper, /main\.ts\0terminals/)

    await scene.ask('restart')
    const second = await scene.up(first)
    process.kill(second, 'SIGKILL')
    const third = await scene.up(second)
    t.equal(await scene.keeperPid(), keeper)
    t.equal(await readySince(), startedAt)

    process.kill(keeper, 'SIGKILL')
    const again = await until('another keeper', async () => {
      const pid = await scene.keeperPid()
      return pid !== keeper && (await ready(socket)) !== undefined ? pid : 0
    })
    t.equal(await scene.pid(), third, 'the gateway is not restarted with it either')
    await scene.program.stop()
    await until('the end of both', () => !isAlive(third) && !isAlive(again))
  })

  t.test(`${supervisor.name}: replaced without a gap, and never the wiser`, async (t) => {
    const scene = await supervise(t, supervisor, { GATEWAY_HOT_RESTART: 'true' })
    const portKeeper = await scene.up()
    const inner = async () =>
      (JSON.parse((await askAdmin(scene.stateDir, '/status')).body) as { pid: number }).pid
    const first = await inner()
    await scene.ask('replace')
    await until('another gateway', async () => (await inner()) !== first)
    t.equal(await scene.pid(), portKeeper)
    await until('the end of the first', () => !isAlive(first))
    t.ok(await isLive(scene.port))
    await scene.program.stop()
    await until('the end of both', () => !isAlive(portKeeper))
    t.notOk(await isLive(scene.port))
  })
}

t.test('s6 hears when the gateway is ready, and that it never will be', async (t) => {
  const s6 = SUPERVISORS.find(({ name }) => name === 's6') as Supervisor
  const scene = await supervise(t, s6)
  const service = join(scene.pidFile, '../gateway')
  await run('s6-svwait', ['-U', '-t', '60000', service])
  t.ok(await isLive(scene.port), 'ready means that requests are taken')
  t.match(await scene.state(), /ready/)
  await scene.ask('stop')

  const kept = await supervise(t, s6, { GATEWAY_HOT_RESTART: 'true' })
  await run('s6-svwait', ['-U', '-t', '60000', join(kept.pidFile, '../gateway')])
  t.ok(await isLive(kept.port), 'with a port keeper too')

  // It is started when somebody waits: who comes later is told nothing, and waits until the time is over.
  const wrong = await supervise(t, s6, { GATEWAY_RATE_LIMIT: 'ten' }, (pidFile) => {
    mkdirSync(join(pidFile, '../gateway'))
    writeFileSync(join(pidFile, '../gateway/down'), '')
  })
  const folder = join(wrong.pidFile, '../gateway')
  const waited = run('s6-svwait', ['-U', '-t', '60000', folder])
  const isTold = t.rejects(waited, /permanent failure/, 'who waits is told that it failed for good')
  await until('somebody who waits', () => readdirSync(join(folder, 'event')).length > 0)
  await wrong.ask('start')
  await isTold
})
