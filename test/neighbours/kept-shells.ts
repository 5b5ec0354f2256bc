/**
 * How do the tests run terminals that survive? Real ttyd, the keeper of terminals, the gateway and Caddy are processes of their
 * own, and every connection between the browser and the keeper can be cut.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { request } from 'node:http'
import { once } from 'node:events'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { IncomingMessage } from 'node:http'
import type { Test } from 'tap'
import type { Page } from 'playwright-core'
import type { TerminalEntry } from '../../src/terminals/protocol.ts'
import * as caddy from './caddy.ts'
import * as chromium from './chromium.ts'
import { startCuttable } from '../helpers/cuttable.ts'
import { FOLDER, freePort, startProgram, until, type Program } from './neighbour.ts'
import { startShellTap } from './shell-tap.ts'
import { TerminalPage } from './terminal-page.ts'
import * as ttyd from './ttyd.ts'
import { startWorkspace, type Workspace } from './workspace.ts'

const MAIN = new URL('../../src/main.ts', import.meta.url).pathname

/** Who can sign off what is started: a test, or a program that ends everything itself. */
export interface Owner {
  readonly teardown: (end: () => unknown) => void
}

/** Limits that a test which reloads a hundred times a minute must not reach. */
const LIMITS = {
  GATEWAY_RATE_LIMIT: '100000',
  GATEWAY_SESSION_RATE_LIMIT: '100000',
  GATEWAY_DRAIN_SECONDS: '1',
  GATEWAY_HOT_RESTART: 'true',
}

/** Everything between a browser and its shells. */
export type KeptShells = Awaited<ReturnType<typeof startKeptShells>>

/** Starts it all. @param settings of the gateway @param keeperSettings of the keeper */
export async function startKeptShells(
  t: Test | Owner,
  browser: chromium.Chromium,
  settings: Record<string, string> = {},
  keeperSettings: Record<string, string> = {},
) {
  const folder = mkdtempSync(join(tmpdir(), 'workspace-gateway-kept-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const shell = await ttyd.startTtyd(FOLDER, { cwd: folder })
  t.teardown(() => shell.stop())
  const tap = await startShellTap(shell.port)
  t.teardown(() => tap.stop())
  const socket = join(folder, 'terminals.sock')
  const keeper = await startKeeperProgram(socket, tap.url, keeperSettings)
  t.teardown(() => keeper.stop())

  const behind = join(folder, 'behind.sock')
  const toKeeper = await startCuttable({ path: behind }, () => ({ path: socket }))
  t.teardown(() => toKeeper.stop())
  const port = await freePort()
  const start = () =>
    startWorkspace({
      ...{ port, stateDir: join(folder, 'state'), terminal: `unix:${behind}` },
      settings: { ...LIMITS, ...settings },
    })
  let workspace: Workspace = await start()
  t.teardown(() => workspace.stop())
  const toGateway = await startCuttable({ host: '127.0.0.1', port: 0 }, () => ({
    host: '127.0.0.1',
    port,
  }))
  t.teardown(() => toGateway.stop())
  const front = await caddy.startCaddy({ [workspace.host]: toGateway.port })
  t.teardown(() => front.stop())
  const origin = front.origin(workspace.host)

  return {
    ...{ folder, tap, keeper, toKeeper, toGateway, origin, front, socket },
    ttyd: shell,
    workspace: () => workspace,
    /** Ends the gateway and starts another one. @param meanwhile is done while there is none */
    async restart(signal: 'SIGTERM' | 'SIGKILL', meanwhile?: () => Promise<unknown>) {
      const { program } = workspace
      if (signal === 'SIGKILL') process.kill(gatewayPid(workspace), 'SIGKILL')
      program.signal(signal)
      await program.exited
      await meanwhile?.()
      workspace = await start()
    },
    /** Replaces the gateway's process without a gap. */
    async upgrade() {
      const count = () => workspace.program.output().split('"msg":"gateway replaced"').length
      const before = count()
      workspace.program.signal('SIGUSR2')
      await until('a successor', () => count() > before)
    },
    gatewayPid: () => gatewayPid(workspace),
    list: () => terminalsOf(socket),
    /** Opens a browser profile that is signed in and has the terminal's password. */
    async signIn(subject?: string): Promise<Page> {
      const page = await browser.open({ httpCredentials: ttyd.CREDENTIAL })
      t.teardown(() => page.context().close())
      await chromium.signIn(page, origin, await workspace.token(subject))
      return page
    },
    /** Opens a terminal in a signed-in page. @returns the terminal, its shell, and the shell's process id */
    async open(page: Page) {
      const number = tap.shells.length
      const terminal = await TerminalPage.open(page, origin)
      const [, pid = ''] = await terminal.ask('echo PID-$$-', /PID-(\d+)-/)
      const own = tap.shells[number]
      if (own === undefined) throw new Error('no shell was opened')
      return { terminal, shell: own, pid: Number(pid) }
    },
  }
}

/** Starts the keeper of terminals as a process. */
async function startKeeperProgram(
  socket: string,
  ttydUrl: string,
  settings: Record<string, string> = {},
): Promise<Program> {
  const program = startProgram(process.execPath, [MAIN, 'terminals'], {
    env: {
      PATH: process.env['PATH'],
      TERMINALS_SOCKET: socket,
      TERMINALS_TTYD_URL: ttydUrl,
      ...settings,
    },
  })
  await program.written(/"msg":"keeping terminals"/)
  return program
}

/** The process of the gateway itself, a child of the one that keeps the port; after an upgrade, the youngest. */
function gatewayPid({ program: { pid } }: Workspace): number {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8')
  return Number(children.trim().split(/\s+/).at(-1))
}

async function terminalsOf(socketPath: string): Promise<readonly TerminalEntry[]> {
  const asked = request({ socketPath, path: '/_terminals', agent: false })
  asked.end()
  const [answer] = (await once(asked, 'response')) as [IncomingMessage]
  const body = Buffer.concat(await answer.toArray()).toString()
  return (JSON.parse(body) as { terminals: TerminalEntry[] }).terminals
}
