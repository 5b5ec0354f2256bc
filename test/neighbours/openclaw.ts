/** The real OpenClaw gateway: installed once, started with the configuration that is shipped in examples/fly. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { HOOK_TOKEN, OPENCLAW_TOKEN, type OpenClawMode } from '../helpers/openclaw.ts'
import { freePort, startProgram, until, type Program, type Started } from './neighbour.ts'
import { runNpm } from './npm.ts'

/** The version that the gateway is tried with. */
export const VERSION = '2026.9.6'

/** The `sub` of the workspace's owner. */
export const OWNER = 'alice'

/** It takes some 20 s on an idle machine of two cores. */
const START_MS = 240_000

/** An OpenClaw that runs. */
export interface OpenClaw extends Started {
  readonly url: string
  readonly program: Program
}

/**
 * Installs it with npm, under the Node that runs this: under an older one npm picks a placeholder version without a word.
 *
 * @returns the version that is installed
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

/** What npm wrote down when it was done: an installation that was broken off has no such file. */
function installedVersion(place: string): string | undefined {
  const file = join(place, 'node_modules/.package-lock.json')
  if (!existsSync(file)) return undefined
  const { packages } = JSON.parse(readFileSync(file, 'utf8')) as {
    packages: Record<string, { version: string } | undefined>
  }
  return packages['node_modules/openclaw']?.version
}

/** How to start it. */
export interface StartOptions {
  /** What `install` was given. */
  readonly folder: string
  /** Where its state and configuration go; made if missing. */
  readonly stateFolder: string
  readonly mode: OpenClawMode
  /** Where browsers reach the workspace: its page refuses WebSockets of any other origin. */
  readonly origins: readonly string[]
  /** The model server's `/v1`. */
  readonly modelUrl: string
}

/** Starts it on a free port and waits until it is ready. */
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
  ended.catch(() => {}) // heard while it starts; later its end is the test's business
  try {
    await program.written(/\[gateway\] ready$/m, START_MS)
    // Asked as a local program asks: without any forwarded field.
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

/** What is shipped, with what only this machine knows put in, and a model and hooks added. */
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

/** The two places where the shipped files want something of the operator's own. */
function filledIn({ token, identityScopes, ...auth }: Fragment['gateway']['auth']): object {
  const [scopes] = Object.values(identityScopes ?? {})
  return {
    ...auth,
    ...(token === undefined ? {} : { token: OPENCLAW_TOKEN }),
    ...(scopes === undefined ? {} : { identityScopes: { [OWNER]: scopes } }),
  }
}
