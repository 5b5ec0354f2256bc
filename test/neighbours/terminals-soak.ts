/**
 * What happens to terminals in half an hour of cuts, reloads, restarts and upgrades at random? Every minute each page is compared
 * with one that was never cut, and at the end every shell must be the same, and memory flat.
 *
 *   node test/neighbours/terminals-soak.ts [minutes, default 30]
 */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { elapse, memoryOf } from '../helpers/waiting.ts'
import * as caddy from './caddy.ts'
import * as chromium from './chromium.ts'
import { startKeptShells, type KeptShells } from './kept-shells.ts'
import { FOLDER, until } from './neighbour.ts'
import { comparedWith, enterIfAsked, UncutPage } from './screens.ts'
import type { TerminalPage } from './terminal-page.ts'
import * as ttyd from './ttyd.ts'

const MINUTES = Number(process.argv[2] ?? 30)

/** The terminals. The first two are of one session, the others of one each. */
const TERMINALS = 4

/** The longest pause between two things that happen, in milliseconds. */
const PAUSE_MS = 1500

/** The growth that is tolerated, because the time of a garbage collection varies. */
const SLACK = 1.15

/** Prints numbered lines in bursts, and sometimes on a screen of its own, while a file is there. */
const PRINTER = `
n=0
while [ -e "$1" ]; do
  i=0
  while [ $i -lt 30 ]; do i=$((i+1)); n=$((n+1)); printf '\\033[3%dm%07d\\033[m ü 漢字 text\\r\\n' $((n%8)) $n; done
  [ $((n%900)) = 0 ] && printf '\\033[?1049h\\033[2J\\033[5;5Hanother screen' && sleep 0.5 && printf '\\033[?1049l'
  sleep 0.2
done
printf 'PRINTED-%s\\r\\n' $n
`

interface Soaked {
  readonly terminal: TerminalPage
  readonly uncut: UncutPage
  readonly pid: number
  readonly running: string
}

const ends: Array<() => unknown> = []
const owner = { teardown: (end: () => unknown) => void ends.unshift(end) }
const say = (text: string) => void process.stdout.write(`${text}\n`)
const problems: string[] = []
const counts: Record<string, number> = {}

/** What can happen, and how often in proportion. */
const EVENTS: ReadonlyArray<readonly [number, string, (scene: Scene) => unknown]> = [
  [10, 'cut before the gateway', ({ kept }) => kept.toGateway.cut()],
  [5, 'cut before the keeper', ({ kept }) => kept.toKeeper.cut()],
  [8, 'reload', ({ soaked }) => pick(soaked).terminal.page.reload()],
  [3, 'outage', outage],
  [3, 'upgrade', ({ kept }) => kept.upgrade()],
  [1, 'restart', ({ kept }) => kept.restart('SIGTERM')],
  [1, 'kill', ({ kept }) => kept.restart('SIGKILL')],
]

/** Each event as often as it should happen. */
const LOTS = EVENTS.flatMap(([often, ...event]) => Array.from({ length: often }, () => event))

interface Scene {
  readonly kept: KeptShells
  readonly soaked: readonly Soaked[]
}

async function outage({ kept }: Scene): Promise<void> {
  kept.toGateway.down(true)
  await elapse(Math.random() * 1000, 'nothing gets through')
  kept.toGateway.down(false)
}

function pick<Item>(items: readonly Item[]): Item {
  return items[Math.floor(Math.random() * items.length)] as Item
}

async function happen(scene: Scene): Promise<void> {
  const [name, act] = pick(LOTS)
  counts[name] = (counts[name] ?? 0) + 1
  await act(scene)
}

/** Starts or stops what a terminal prints. */
async function print({ terminal, running }: Soaked, isPrinting: boolean): Promise<void> {
  if (isPrinting) {
    writeFileSync(running, '')
    await terminal.command(`sh ./printer ${running}`)
  } else {
    rmSync(running)
    await until('the printer to end', async () => {
      await enterIfAsked(terminal.page)
      return /PRINTED-\d+\s+\$ \s*$/.test(await terminal.text())
    })
  }
}

/** What is wrong with the numbered lines that a printer has printed last. */
function faultsOf(text: string): string[] {
  const printed = text.slice(Math.max(0, text.lastIndexOf('sh ./printer'))) // the command may have scrolled away
  const numbers = Array.from(printed.matchAll(/^(\d{7}) /gm), ([, n]) => Number(n))
  const last = /PRINTED-(\d+)/.exec(printed)?.[1]
  return [
    ...(numbers.every((n, at) => at === 0 || n === (numbers[at - 1] ?? 0) + 1)
      ? []
      : ['a line is missing, or there twice']),
    ...(Number(last) === numbers.at(-1) ? [] : [`it ends with ${numbers.at(-1)} and not ${last}`]),
  ]
}

async function look({ kept, soaked }: Scene): Promise<Record<string, number>> {
  for (const [i, one] of soaked.entries()) {
    await print(one, false)
    const found = await comparedWith(one.uncut, one.terminal.page)
    problems.push(...found.map((text) => `terminal ${i}: ${text}`))
    problems.push(...faultsOf(await one.terminal.text()).map((text) => `terminal ${i}: ${text}`))
    await one.terminal.ask('clear; echo "PID-$$-"', /PID-(\d+)-\s/)
    if (!(await one.terminal.text()).includes(`PID-${one.pid}-`))
      problems.push(`terminal ${i}: another shell`)
  }
  const mib = (pid: number) => Math.round(memoryOf(pid) / 1024 / 1024)
  return { keeper: mib(kept.keeper.pid), gateway: mib(kept.gatewayPid()) }
}

/** Compares the last third with the one before. The first is ignored, because it fills caches. */
function verdict(looks: ReadonlyArray<Record<string, number>>, name: string): string {
  const values = looks.map((one) => one[name] ?? 0)
  const third = Math.floor(values.length / 3)
  if (third < 1) return `${name}: too short to say whether it grows`
  const middleOf = (some: number[]) =>
    some.toSorted((a, b) => a - b)[Math.floor(some.length / 2)] ?? 0
  const before = middleOf(values.slice(-2 * third, -third))
  const after = middleOf(values.slice(-third))
  const isFlat = after <= before * SLACK
  if (!isFlat) problems.push(`the memory of the ${name} grows`)
  return `${name}: ${before} MiB in the middle third, ${after} MiB in the last: ${isFlat ? 'flat' : 'GROWS'}`
}

async function soak(): Promise<void> {
  mkdirSync(FOLDER, { recursive: true })
  await Promise.all([caddy.install(), chromium.install()])
  await ttyd.install(FOLDER)
  const browser = await chromium.startChromium()
  owner.teardown(() => browser.stop())
  const kept = await startKeptShells(owner, browser)
  writeFileSync(join(kept.folder, 'printer'), PRINTER)
  const soaked: Soaked[] = []
  let page = await kept.signIn('alice')
  for (let i = 0; i < TERMINALS; i++) {
    if (i === 1) page = await page.context().newPage()
    if (i > 1) page = await kept.signIn(`person-${i}`)
    const { terminal, shell, pid } = await kept.open(page)
    const uncut = await UncutPage.open(browser, { shell, like: page, ttydUrl: kept.ttyd.url })
    soaked.push({ terminal, uncut, pid, running: join(kept.folder, `running-${i}`) })
  }
  const scene = { kept, soaked }
  const looks: Array<Record<string, number>> = []
  const endsAt = performance.now() + MINUTES * 60_000
  while (performance.now() < endsAt && problems.length === 0) {
    for (const one of soaked) await print(one, true)
    const minute = performance.now() + 60_000
    while (performance.now() < minute) {
      await elapse(Math.random() * PAUSE_MS, 'a random moment')
      await happen(scene)
      for (const { terminal } of soaked) await enterIfAsked(terminal.page)
    }
    const seen = await look(scene)
    looks.push(seen)
    say(JSON.stringify({ ...seen, ...counts }))
  }
  for (const name of ['keeper', 'gateway']) say(verdict(looks, name))
  if (kept.tap.shells.length !== TERMINALS)
    problems.push(`${kept.tap.shells.length} shells instead of ${TERMINALS}`)
  if (/"level":"(?:error|fatal)"/.test(kept.keeper.output()))
    problems.push('the keeper had a fault')
}

try {
  await soak()
} catch (error) {
  problems.push(error instanceof Error ? (error.stack ?? error.message) : String(error))
} finally {
  for (const end of ends) await end()
}
say(problems.length === 0 ? 'every shell is the same' : problems.join('\n'))
process.exitCode = problems.length === 0 ? 0 : 1
