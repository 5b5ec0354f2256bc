/**
 * Is docs/limits.md true? Every command of the page is run, by bash and curl, against the real service, and its lists are those of the code.
 * `npm run test:one -- --snapshot test/limits-page.test.ts` writes its answers and its table of errors anew.
 */
import { execFile } from 'node:child_process'
import { globSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'
import { LIMITS_SETTINGS } from '../src/config/limits-settings.ts'
import { LIMIT_ERRORS } from '../src/fleet/limit-errors.ts'
import { LIMITS_METRICS } from '../src/fleet/limits-metrics.ts'
import { run, temporaryFolder } from './helpers/process.ts'

const PAGE = 'docs/limits.md'
const page = readFileSync(PAGE, 'utf8')
const runFile = promisify(execFile)

/** A command of the page, and what the page says that it prints. */
const TRANSCRIPT = /^```console\n\$ (.*)\n([^]*?)^```$/gm

/** The file with policies that the page shows. */
const [, POLICIES = ''] = /^```yaml\n([^]*?)^```$/m.exec(page) ?? []

/** The function that the page's commands use. */
const [ASK = ''] = /^ask\(\) \{.*\}$/m.exec(page) ?? []

/** Starts the service as the page says. @returns runs a command of the page */
async function startAsShown(t: Test) {
  const home = temporaryFolder(t)
  mkdirSync(join(home, 'limits'), { mode: 0o700 })
  const tokenFile = join(home, 'limits/token')
  writeFileSync(tokenFile, `${'5eed1a7b'.repeat(8)}\n`, { mode: 0o600 })
  const policyFile = join(home, 'limits/policies.yaml')
  writeFileSync(policyFile, POLICIES)
  const program = run(t, ['limits'], {
    LIMITS_PORT: '0',
    LIMITS_TOKEN_FILE: tokenFile,
    LIMITS_STATE_DIR: join(home, 'limits/data'),
    LIMITS_POLICY_FILE: policyFile,
  })
  const { port } = await program.logged('limiting')
  return async (command: string) => {
    const script = `${ASK}\n${command.replaceAll('127.0.0.1:7655', `127.0.0.1:${String(port)}`)}`
    const { stdout } = await runFile('bash', ['-c', script], {
      env: { PATH: process.env['PATH'], HOME: home },
    })
    return stdout.replaceAll('\r', '').replace(/^(?:Date|Connection|Keep-Alive): .*\n/gm, '')
  }
}

/** A transcript with what differs from run to run replaced: ids, clocks, and seconds that have passed. */
function masked(text: string): string {
  return text
    .replace(/[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/g, '<id>')
    .replace(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, '<time>')
    .replace(/\b(?:3600|35\d\d)\b/g, '3600')
    .replace(/\b(?:86400|863\d\d)\b/g, '86400')
    .replace(/^Content-Length: \d+$/im, 'Content-Length: <size>')
    .trim()
}

t.test('every command of the page prints what the page shows', async (t) => {
  const runs = await startAsShown(t)
  let fresh = page
  const transcripts = [...page.matchAll(TRANSCRIPT)]
  for (const [block, command = '', shown = ''] of transcripts) {
    const printed = await runs(command)
    t.equal(masked(printed), masked(shown), command)
    // The same command may stand there twice, with another answer.
    const at = fresh.indexOf(block)
    const after = `\`\`\`console\n$ ${command}\n${printed.trimEnd()}\n\`\`\``
    fresh = fresh.slice(0, at) + after + fresh.slice(at + block.length)
  }
  t.ok(transcripts.length >= 8, 'no transcript was overlooked')
  t.equal(page.match(/^\$ /gm)?.length, transcripts.length)
  if (process.env['TAP_SNAPSHOT'] === '1')
    writeFileSync(
      PAGE,
      fresh.replace(
        /(?<=\| code \| status \| when \|\n\| --- \| --- \| --- \|\n)(?:\|.*\n)*/,
        ERROR_ROWS,
      ),
    )
})

/** The rows of the page's table of errors. */
const ERROR_ROWS = Object.entries(LIMIT_ERRORS)
  .map(([code, { status, when }]) => `| \`${code}\` | ${status} | ${when} |\n`)
  .join('')

t.test('the page has every error code, as it is declared', async (t) => {
  t.match(page, `| code | status | when |\n| --- | --- | --- |\n${ERROR_ROWS}\n`)
})

t.test('the page names every metric', async (t) => {
  for (const name of Object.keys(LIMITS_METRICS)) t.match(page, `\`${name}\``)
})

t.test('the page has every message of the log', async (t) => {
  const log = /[lL]ogger\.(?:info|warn|error|fatal)\(\s*(?:\{[^]*?\},?\s*)?'([^']+)'/g
  const files = [...globSync('src/fleet/*.ts'), 'src/process/run-limits.ts']
  const messages = files.flatMap((path) =>
    [...readFileSync(path, 'utf8').matchAll(log)].map(([, message = '']) => message),
  )
  t.ok(messages.length > 12, String(messages.length))
  for (const message of messages.filter((one) => !one.startsWith('nothing to be done')))
    t.match(page, `\`${message.replace(/; set .*/, '; …')}\``)
})

t.test('the page names every setting', async (t) => {
  for (const { env } of Object.values(LIMITS_SETTINGS)) t.match(page, `\`${env}\``)
})
