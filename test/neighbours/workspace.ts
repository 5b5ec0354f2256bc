/** How do the tests run a workspace? With the real gateway as a process of its own, and the services of the test. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { mintToken } from '../../src/identity/mint.ts'
import { startProgram, type Program, type Started } from './neighbour.ts'

const MAIN = new URL('../../src/main.ts', import.meta.url).pathname

/** The domain of all test workspaces. Chromium itself resolves names below `localhost`. */
export const DOMAIN = 'hubify.localhost'

/** An address on which nothing listens, for services that a test does not have. */
const NOWHERE = 'http://127.0.0.1:1'

/** Options of a workspace. */
export interface WorkspaceOptions {
  /** The name, which is also the audience of its tokens. */
  readonly name?: string
  /** The domain of which it is a subdomain. */
  readonly domain?: string
  readonly dashboard?: string
  readonly api?: string
  readonly terminal?: string
  readonly health?: string
  /** The port to listen on; 0 takes a free one. */
  readonly port?: number
  /** The state folder; by default a new one, which is removed at the end. */
  readonly stateDir?: string
  /** Further settings of the gateway, by name. */
  readonly settings?: Record<string, string>
}

/** A line of the gateway's log. */
type LogLine = Record<string, unknown>

/** A running workspace. */
export interface Workspace extends Started {
  readonly name: string
  /** The host for browsers, without a port. */
  readonly host: string
  readonly port: number
  /** The address of the gateway itself, without Caddy. */
  readonly url: string
  readonly program: Program
  /** The gateway's environment, for its other commands. */
  readonly env: Record<string, string | undefined>
  /** Makes a token for this workspace that is valid for an hour. */
  token(subject?: string): Promise<string>
  logLines(): LogLine[]
  /** The log lines about requests, all or those below a path. */
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
