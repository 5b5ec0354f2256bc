/**
 * Does the gateway answer as docs/answers.md shows? Every command of the page is run, by bash and curl, against `npm start`.
 * `npm run test:one -- --snapshot test/answers-page.test.ts` writes the page anew.
 */
import { execFile, spawn } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'
import { workspaceIsUp } from './helpers/npm-start.ts'
import { MAIN, temporaryFolder, watch } from './helpers/process.ts'

const PAGE = fileURLToPath(new URL('../docs/answers.md', import.meta.url))
const START = fileURLToPath(new URL('../embedded/start.ts', import.meta.url))

const runFile = promisify(execFile)

/** What the commands of the page need to know of a running workspace. */
interface Running {
  readonly port: string
  /** The shell variables that the page names. */
  readonly variables: { readonly TOKEN: string; readonly CREDENTIAL: string }
}

/** Runs `npm start` with these settings, on a free port and without ttyd, in an empty folder. */
async function startWorkspace(t: Test, settings: Record<string, string>): Promise<Running> {
  const folder = temporaryFolder(t)
  const env = { PATH: folder, HOME: folder, SHELL: '/bin/sh', GATEWAY_PORT: '0', ...settings }
  const program = watch(
    t,
    spawn(process.execPath, [START], { cwd: folder, env, stdio: ['ignore', 'pipe', 'pipe'] }),
  )
  await workspaceIsUp(program)
  const found = (pattern: RegExp) => pattern.exec(program.stdout())?.slice(1).join(':') ?? ''
  const { stdout: token } = await runFile(process.execPath, [MAIN, 'token', '--sub', 'me'], {
    env: {
      GATEWAY_WORKSPACE: 'local',
      GATEWAY_JWT_SECRET_FILE: join(folder, '.workspace', 'jwt-secret'),
    },
  })
  return {
    port: found(/ is up: http:\/\/localhost:(\d+)/),
    variables: {
      TOKEN: token.trim(),
      CREDENTIAL: found(/a name and a password:\n\s+(\S+)\n\s+(\S+)/),
    },
  }
}

/** The workspaces that run, by their settings. */
const workspaces = new Map<string, Promise<Running>>()

/** The workspace with these settings, started once. */
async function workspaceWith(t: Test, settings: Record<string, string>): Promise<Running> {
  const key = JSON.stringify(settings)
  const workspace = workspaces.get(key) ?? startWorkspace(t, settings)
  workspaces.set(key, workspace)
  return await workspace
}

/** Runs a command line of the page and returns what it prints, without the fields that the page leaves out. */
async function run(command: string, { port, variables }: Running): Promise<string> {
  const script = command.replaceAll('localhost:8080', `localhost:${port}`)
  const { stdout } = await runFile('bash', ['-c', `${script}; true`], {
    env: { PATH: process.env['PATH'], ...variables },
  })
  return stdout
    .replaceAll('\r', '')
    .replace(/^Date: .*\n|^Connection: (?:keep-alive|close)\n/gm, '')
}

/** A transcript with what differs from run to run replaced: ids, clocks, and sizes of texts that the page does not show. */
function masked(text: string): string {
  return text
    .replace(/[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/g, '<id>')
    .replace(/"created":\d{10}/g, '"created":<seconds>')
    .replace(/(t=|Retry-After: |Wait )(?:5\d|60)\b/g, '$160')
    .replace(/^Content-Length: \d+(?=\n\n\{"status":"ok", …\})/m, 'Content-Length: <size>')
    .replace(/ +$/gm, '')
    .trim()
}

/** A command of the page, and what the page says that it prints. */
const TRANSCRIPT = /^```console\n\$ (.*)\n([^]*?)^```$/gm

/** The settings of a workspace in which something is wrong on purpose, as the text says it: `GATEWAY_…=… npm start`. */
const SETTINGS = /`((?:GATEWAY_\w+=\S+ )+)npm start`/

t.test('every command of the page prints what the page shows', async (t) => {
  const page = readFileSync(PAGE, 'utf8')
  let fresh = page
  let count = 0
  for (const section of page.split(/^(?=## )/m)) {
    const assignments = SETTINGS.exec(section)?.[1]?.trim().split(' ') ?? []
    const settings = Object.fromEntries(
      assignments.map((one) => one.split('=') as [string, string]),
    )
    const transcripts = [...section.matchAll(TRANSCRIPT)]
    if (transcripts.length === 0) continue
    const workspace = await workspaceWith(t, settings)
    for (const [block, command = '', shown = ''] of transcripts) {
      const printed = await run(command, workspace)
      t.equal(masked(printed), masked(shown), command)
      fresh = fresh.replace(
        block,
        () => `\`\`\`console\n$ ${command}\n${printed.trimEnd()}\n\`\`\``,
      )
      count += 1
    }
  }
  t.ok(count >= 14, 'no transcript was overlooked')
  t.equal(page.match(/^\$ /gm)?.length, count)
  if (process.env['TAP_SNAPSHOT'] === '1') writeFileSync(PAGE, fresh)
})
