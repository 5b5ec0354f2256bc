/** How do the tests run real OpenClaw? They install it once, and start it with the configuration in examples/fly. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { HOOK_TOKEN, OPENCLAW_TOKEN, type OpenClawMode } from '../helpers/openclaw.ts'
import { freePort, startProgram, until, type Program, type Started } from './neighbour.ts'
import { runNpm } from './npm.ts'

/** The version with which the gateway is tested. */
export const VERSION = '2026.9.6'

/** The `sub` of the workspace's owner. */
export const OWNER = 'alice'

/** The time limit for a start, which takes some 20 s on an idle machine with two cores. */
const START_MS = 240_000

/** A running OpenClaw. */
export interface OpenClaw extends Started {
  readonly url: string
  readonly program: Program
}

/**
 * Installs OpenClaw with npm and the Node of this process. With an older Node, npm silently installs a placeholder version.
 *
 * @returns the installed version
 */
export async function install(folder: string): Promise<string> {
  const place = placeIn(folder)
  if (installedVersion(place) !== VERSION) {
    mkdirSync(place, { recursive: true })
    await runNpm(place, ['install', '--no-audit', '--no-fund', `openclaw@${VERSION}`])
  }
  const version = installedVersion(place)
  if (version !== VERSION)
    throw new Error(`npm installed openclaw ${version ?? 'nowhere'} instead of ${VERSION}`)
  return version
}

const placeIn = (folder: string) => join(folder, 'openclaw')

/** The file that npm writes at the end. An incomplete installation has no such file. */
function installedVersion(place: string): string | undefined {
  const file = join(place, 'node_modules/.package-lock.json')
  if (!existsSync(file)) return undefined
  const { packages } = JSON.parse(readFileSync(file, 'utf8')) as {
    packages: Record<string, { version: string } | undefined>
  }
  return packages['node_modules/openclaw']?.version
}

/** Options for starting OpenClaw. */
export interface StartOptions {
  /** The folder that was given to `install`. */
  readonly folder: string
  /** The folder for its state and configuration. It is created if missing. */
  readonly stateFolder: string
  readonly mode: OpenClawMode
  /** The origin of the workspace for browsers. OpenClaw refuses WebSockets from pages of any other origin. */
  readonly origins: readonly string[]
  /** The URL of the model server's `/v1`. */
  readonly modelUrl: string
}

/** Starts OpenClaw on a free port and waits until it is ready. */
export async function startOpenClaw(options: StartOptions): Promise<OpenClaw> {
  const { folder, stateFolder } = options
  const port = await freePort()
  mkdirSync(stateFolder, { recursive: true })
  const configFile = join(stateFolder, 'openclaw.json')
  writeFileSync(configFile, JSON.stringify(buildConfig(options, port), null, 2), { mode: 0o600 })
  const entry = join(placeIn(folder), 'node_modules/openclaw/openclaw.mjs')
  const program = startProgram(process.execPath, [entry, 'gateway', 'run'], {
    cwd: stateFolder,
    env: {
      PATH: process.env['PATH'],
      HOME: stateFolder,
      OPENCLAW_CONFIG_PATH: configFile,
      OPENCLAW_STATE_DIR: stateFolder,
      OPENCLAW_DISABLE_BONJOUR: '1',
      NO_COLOR: '1',
    },
  })
  const url = `http://127.0.0.1:${port}`
  const ended = program.exited.then((code) => {
    throw new Error(`OpenClaw ended with ${code}: ${program.output().slice(-2000)}`)
  })
  ended.catch(() => {}) // handled during the start; later the test handles the end
  try {
    await program.written(/\[gateway\] ready$/m, START_MS)
    // A local program sends no forwarding headers.
    const ready = until('OpenClaw', async () => (await fetch(`${url}/readyz`)).ok)
    await Promise.race([ready, ended])
  } catch (error) {
    await program.stop()
    throw error
  }
  return { url, program, stop: () => program.stop() }
}

interface Fragment {
  gateway: {
    port: number
    auth: { mode: string; token?: string; identityScopes?: Record<string, readonly string[]> }
    controlUi: { basePath: string; allowedOrigins: readonly string[] }
  }
}

/** The shipped configuration, with this machine's values, a model and hooks added. */
function buildConfig({ mode, origins, modelUrl }: StartOptions, port: number): unknown {
  const file = new URL(`../../examples/fly/openclaw.${mode}.json`, import.meta.url)
  const { gateway, ...rest } = JSON.parse(readFileSync(file, 'utf8')) as Fragment
  return {
    ...rest,
    gateway: {
      ...gateway,
      port,
      auth: filledIn(gateway.auth),
      controlUi: { ...gateway.controlUi, allowedOrigins: origins },
    },
    hooks: { enabled: true, token: HOOK_TOKEN, path: '/hooks' },
    models: {
      mode: 'merge',
      providers: {
        fake: {
          baseUrl: modelUrl,
          apiKey: 'none',
          api: 'openai-completions',
          models: [
            {
              id: 'fake-1',
              name: 'Fake',
              reasoning: false,
              input: ['text'],
              cost: { input: 0, output: 0, cacheRead: 0, cacheWrite: 0 },
              contextWindow: 200_000,
              maxTokens: 8192,
            },
          ],
        },
      },
    },
    agents: { defaults: { model: { primary: 'fake/fake-1' } } },
  }
}

/** The two values in the shipped files that the operator must replace. */
function filledIn({ token, identityScopes, ...auth }: Fragment['gateway']['auth']): object {
  const [scopes] = Object.values(identityScopes ?? {})
  return {
    ...auth,
    ...(token === undefined ? {} : { token: OPENCLAW_TOKEN }),
    ...(scopes === undefined ? {} : { identityScopes: { [OWNER]: scopes } }),
  }
}
