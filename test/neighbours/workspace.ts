/** One workspace: the real gateway as a process of its own, before the services that a test names. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { mintToken } from '../../src/identity/mint.ts'
import { startProgram, type Program, type Started } from './neighbour.ts'

const MAIN = new URL('../../src/main.ts', import.meta.url).pathname

/** The domain of all test workspaces. Chromium resolves names below `localhost` by itself. */
export const DOMAIN = 'hubify.localhost'

/** Nothing listens here: where a service is that a test has not named. */
const NOWHERE = 'http://127.0.0.1:1'

/** What a workspace is made of. */
export interface WorkspaceOptions {
  /** Its name, and the audience of its tokens. */
  readonly name?: string
  /** The domain it is a subdomain of. */
  readonly domain?: string
  readonly dashboard?: string
  readonly api?: string
  readonly terminal?: string
  readonly health?: string
  /** The port to listen on; 0 takes a free one. */
  readonly port?: number
  /** Where its state is; a new folder, removed in the end, when not given. */
  readonly stateDir?: string
  /** Further settings of the gateway, by their names. */
  readonly settings?: Record<string, string>
}

/** A line of the gateway's log. */
type LogLine = Record<string, unknown>

/** A workspace whose gateway listens. */
export interface Workspace extends Started {
  readonly name: string
  /** The host that browsers know it by, without a port. */
  readonly host: string
  readonly port: number
  /** Where the gateway itself is reached, without Caddy. */
  readonly url: string
  readonly program: Program
  /** Its environment, for another command of the gateway's. */
  readonly env: Record<string, string | undefined>
  /** A token that opens this workspace for an hour. */
  token(subject?: string): Promise<string>
  logLines(): LogLine[]
  /** The lines about requests, whole or in part of a path. */
  requests(path: string): LogLine[]
}

/** Starts a gateway and waits until it listens. */
export async function startWorkspace({
  name = 'houston',
  domain = DOMAIN,
  port = 0,
  stateDir,
  settings = {},
  ...services
}: WorkspaceOptions = {}): Promise<Workspace> {
  const secret = `neighbours-key-of-${name}-6c1f0d9e27b84a35`
  const state = stateDir ?? mkdtempSync(join(tmpdir(), 'workspace-gateway-neighbours-'))
  const env = {
    PATH: process.env['PATH'],
    GATEWAY_WORKSPACE: name,
    GATEWAY_DOMAIN: domain,
    GATEWAY_JWT_SECRET: secret,
    GATEWAY_HOST: '127.0.0.1',
    GATEWAY_PORT: String(port),
    GATEWAY_STATE_DIR: state,
    GATEWAY_DASHBOARD_URL: services.dashboard ?? NOWHERE,
    GATEWAY_API_URL: services.api ?? NOWHERE,
    GATEWAY_TERMINAL_URL: services.terminal ?? NOWHERE,
    GATEWAY_HEALTH_URL: services.health ?? NOWHERE,
    ...settings,
  }
  const program = startProgram(process.execPath, [MAIN, 'serve'], { env })
  const clean = () => {
    if (stateDir === undefined) rmSync(state, { recursive: true, force: true })
  }
  const logLines = () =>
    program
      .output()
      .split('\n')
      .slice(0, -1)
      .filter((line) => line.startsWith('{'))
      .map((line) => JSON.parse(line) as LogLine)
  try {
    await program.written(/"msg":"listening"/)
  } catch (error) {
    clean()
    throw error
  }
  const bound = Number(logLines().find(({ msg }) => msg === 'listening')?.['port'])
  return {
    name,
    host: `${name}.${domain}`,
    port: bound,
    url: `http://127.0.0.1:${bound}`,
    program,
    env: { ...env, GATEWAY_PORT: String(bound) },
    token: (subject = 'alice') => mintToken({ secret, workspace: name, subject, ttlSeconds: 3600 }),
    logLines,
    requests: (path) =>
      logLines().filter((line) => 'stage' in line && String(line['path']).includes(path)),
    async stop() {
      await program.stop()
      clean()
    },
  }
}
