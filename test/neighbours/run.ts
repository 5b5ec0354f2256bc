/**
 * `npm run test:neighbours`: installs the real neighbours, runs the tests with them, and says what was run.
 * A neighbour that cannot be installed is a failure, and its reason is printed; nothing is ever left out silently.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { globSync, mkdirSync } from 'node:fs'
import * as caddy from './caddy.ts'
import * as chromium from './chromium.ts'
import { FOLDER, type Neighbour } from './neighbour.ts'
import * as next from './next.ts'
import * as openclaw from './openclaw.ts'
import * as supervisors from './supervisors.ts'
import * as ttyd from './ttyd.ts'

/** Every neighbour, in the order of the table. */
const NEIGHBOURS: Record<string, Neighbour> = {
  ttyd,
  'lrzsz (sz and rz for ttyd)': { install: ttyd.installZmodem },
  OpenClaw: openclaw,
  'Next.js': next,
  Caddy: caddy,
  Chromium: chromium,
  Supervisors: supervisors,
}

/** How long one file may take, in seconds: it starts real programs, and a runner may have one slow core. */
const FILE_SECONDS = 900

const say = (text: string) => void process.stdout.write(`${text}\n`)

interface Installed {
  readonly name: string
  readonly version: string
  /** Why it could not be installed. */
  readonly problem?: string
}

async function installAll(): Promise<Installed[]> {
  mkdirSync(FOLDER, { recursive: true })
  const found: Installed[] = []
  for (const [name, neighbour] of Object.entries(NEIGHBOURS)) {
    try {
      found.push({ name, version: await neighbour.install(FOLDER) })
    } catch (error) {
      const problem = error instanceof Error ? error.message : String(error)
      found.push({ name, version: '–', problem })
    }
    const { version, problem } = found.at(-1) as Installed
    say(
      problem === undefined ? `# ${name} ${version}` : `# ${name} CANNOT BE INSTALLED: ${problem}`,
    )
  }
  return found
}

/** Runs the tests, one file after the other: each starts programs that fill a small machine. */
async function runTests(files: readonly string[]): Promise<{ output: string; code: number }> {
  const options = [
    '--disable-coverage',
    '--allow-incomplete-coverage',
    '--jobs=1',
    '--reporter=tap',
  ]
  const child = spawn('tap', [...options, `--timeout=${FILE_SECONDS}`, ...files], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let output = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text
    process.stdout.write(text)
  })
  const [code] = (await once(child, 'close')) as [number | null]
  return { output, code: code ?? 1 }
}

/** What tap counted: `# { total: 19, pass: 19 }`. */
function countOf(output: string, what: 'pass' | 'fail' | 'skip'): number {
  const summary = output.match(/^# \{ total: .*\}$/gm)?.at(-1) ?? ''
  return Number(new RegExp(`${what}: (\\d+)`).exec(summary)?.[1] ?? 0)
}

/** How each file ended, by its name. */
function resultsOf(output: string, files: readonly string[]): string[][] {
  return files.map((file) => {
    const line = output.split('\n').find((one) => /^(?:not )?ok /.test(one) && one.includes(file))
    const seconds = /# time=([\d.]+)(m?s)/.exec(line ?? '')
    const result = line === undefined ? 'not run' : line.startsWith('ok') ? 'passed' : 'FAILED'
    return [file, result, seconds === null ? '' : `${seconds[1]} ${seconds[2]}`]
  })
}

function table(rows: readonly string[][]): string {
  const widths = (rows[0] ?? []).map((_, i) => Math.max(...rows.map((row) => row[i]?.length ?? 0)))
  return rows
    .map((row) => `# ${row.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join('  ')}`.trimEnd())
    .join('\n')
}

const only = process.argv.slice(2)
const files = only.length > 0 ? only : globSync('test/neighbours/*.neighbours.ts').toSorted()
const installed = await installAll()
const { output, code } = await runTests(files)
const missing = installed.filter(({ problem }) => problem !== undefined)
const failed = countOf(output, 'fail') + missing.length
const passed = countOf(output, 'pass')
const isBroken = code !== 0 && failed === 0 // tap can fail without a failed assertion: a time limit, an exit code

say('\n# what was run')
say(
  table([
    ['Node', process.versions.node],
    ...installed.map(({ name, version }) => [name, version]),
  ]),
)
say(`\n${table(resultsOf(output, files))}`)
for (const { name, problem } of missing) say(`# missing: ${name}: ${problem}`)
const fail = failed + (isBroken ? 1 : 0)
const skipped = countOf(output, 'skip')
say(
  `# { total: ${passed + fail + skipped}, pass: ${passed}, fail: ${fail}${skipped > 0 ? `, skip: ${skipped}` : ''} }`,
)
process.exitCode = fail > 0 ? 1 : 0
