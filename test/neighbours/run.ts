/**
 * What does `npm run test:neighbours` do? It installs the real neighbours, runs the tests with them, and prints a table.
 * A neighbour that cannot be installed is a failure with a printed reason. No test is skipped silently.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { globSync, mkdirSync } from 'node:fs'
import * as caddy from './caddy.ts'
import * as chromium from './chromium.ts'
import { FOLDER, type Neighbour } from './neighbour.ts'
import * as next from './next.ts'
import * as openclaw from './openclaw.ts'
import * as sdks from './sdks.ts'
import * as supervisors from './supervisors.ts'
import * as ttyd from './ttyd.ts'

/** All neighbours, in the order of the table. */
const NEIGHBOURS: Record<string, Neighbour> = {
  ttyd,
  'lrzsz (sz and rz for ttyd)': { install: ttyd.installZmodem },
  'vim, less and top': { install: ttyd.installShellPrograms },
  OpenClaw: openclaw,
  'Next.js': { install: next.install },
  Caddy: caddy,
  Chromium: chromium,
  Supervisors: supervisors,
  'SDKs of model services': { install: sdks.install },
}

/** How many files run side by side. Most of their time they wait: for a browser, a supervisor, a shell that ends. */
const LANES = 2

/** The files that take longest, by their names. They begin first, so that none of them is alone at the end. */
const LONGEST = ['supervisors', 'openclaw', 'terminals-cuts', 'terminal']

/**
 * The time limit for one file, in seconds: three times what the longest takes, because a CI runner may have only one slow core. A browser
 * that hangs takes as long, and its file is run once more.
 */
const FILE_SECONDS = 420

const say = (text: string) => void process.stdout.write(`${text}\n`)

interface Installed {
  readonly name: string
  readonly version: string
  /** The reason why it could not be installed. */
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

/** The result of a file. */
interface Outcome {
  readonly file: string
  readonly pass: number
  readonly fail: number
  readonly skip: number
  readonly seconds: number
  /** The output of tap. */
  readonly output: string
  /** Whether it passed only in the second run. */
  readonly isSecondTry: boolean
}

/** Runs one file. */
async function runFile(file: string, isSecondTry = false): Promise<Outcome> {
  const options = [
    '--disable-coverage',
    '--allow-incomplete-coverage',
    '--jobs=1',
    '--reporter=tap',
  ]
  const startedAt = performance.now()
  const child = spawn('tap', [...options, `--timeout=${FILE_SECONDS}`, file], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let output = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text
  })
  const [code] = (await once(child, 'close')) as [number | null]
  const fail = countOf(output, 'fail')
  return {
    file,
    pass: countOf(output, 'pass'),
    fail: code !== 0 && fail === 0 ? 1 : fail, // tap can fail without a failed assertion: a time limit, an exit code
    skip: countOf(output, 'skip'),
    seconds: (performance.now() - startedAt) / 1000,
    output,
    isSecondTry,
  }
}

/**
 * Runs the files. One that fails is run once more at the end, alone, as is usual in tests with real browsers and other programs,
 * and the table shows it: a file that then passes failed for lack of time or memory, or is unstable.
 */
async function runFiles(files: readonly string[]): Promise<Outcome[]> {
  const waiting = [...files].toSorted((a, b) => rankOf(a) - rankOf(b))
  const outcomes: Outcome[] = []
  const again: string[] = []
  const runLane = async () => {
    for (let file = waiting.shift(); file !== undefined; file = waiting.shift()) {
      const outcome = await runFile(file)
      if (outcome.fail === 0) {
        say(outcome.output)
        outcomes.push(outcome)
        continue
      }
      // Print it as a comment, so that a TAP reader counts only the deciding run.
      say(`# ${file} FAILED; this is what it said, and it is run once more`)
      say(outcome.output.replaceAll(/^/gm, '#   '))
      again.push(file)
    }
  }
  await Promise.all(Array.from({ length: LANES }, runLane))
  for (const file of again) {
    const outcome = await runFile(file, true)
    say(outcome.output)
    outcomes.push(outcome)
  }
  return outcomes.toSorted((a, b) => a.file.localeCompare(b.file))
}

/** The place of a file among those that take longest; the others come after them, in their own order. */
function rankOf(file: string): number {
  const rank = LONGEST.findIndex((name) => file.endsWith(`/${name}.neighbours.ts`))
  return rank === -1 ? LONGEST.length : rank
}

/** The counts in tap's last line: `# { total: 19, pass: 19 }`. */
function countOf(output: string, what: 'pass' | 'fail' | 'skip'): number {
  const summary = output.match(/^# \{ total: .*\}$/gm)?.at(-1) ?? ''
  return Number(new RegExp(`${what}: (\\d+)`).exec(summary)?.[1] ?? 0)
}

function resultOf({ fail, isSecondTry }: Outcome): string {
  if (fail > 0) return `FAILED twice (${fail})`
  return isSecondTry ? 'FAILED, passed when run again' : 'passed'
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
const outcomes = await runFiles(files)
const missing = installed.filter(({ problem }) => problem !== undefined)
const sum = (what: 'pass' | 'fail' | 'skip') =>
  outcomes.reduce((total, outcome) => total + outcome[what], 0)

say('\n# what was run')
say(
  table([
    ['Node', process.versions.node],
    ...installed.map(({ name, version }) => [name, version]),
  ]),
)
const rows = outcomes.map((one) => [one.file, resultOf(one), `${one.seconds.toFixed(0)} s`])
say(`\n${table(rows)}`)
for (const { name, problem } of missing) say(`# missing: ${name}: ${problem}`)
const pass = sum('pass')
const fail = sum('fail') + missing.length
const skip = sum('skip')
say(
  `# { total: ${pass + fail + skip}, pass: ${pass}, fail: ${fail}${skip > 0 ? `, skip: ${skip}` : ''} }`,
)
process.exitCode = fail > 0 ? 1 : 0
