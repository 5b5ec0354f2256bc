/** What does `npm run bench` do? It measures the gateway and its peers in turns, with one upstream, and prints one table. */
import { writeFileSync } from 'node:fs'
import { goFirst, stopAll } from './child.ts'
import { measureGrowth } from './growth.ts'
import { Lab, whatIsMissing } from './lab.ts'
import { describeMachine } from './machine.ts'
import { parseOptions, type Options } from './options.ts'
import { PEERS, type PeerName } from './peers/peer.ts'
import { foreignMicros } from './proc.ts'
import { SCENARIOS, type ScenarioName } from './scenarios/all.ts'
import { soak } from './soak.ts'
import { writeTable } from './table.ts'
import { Results, takeTurns } from './turns.ts'

/** The peers of a quick run: the setup that the gateway replaces, the limit of Node, and the gateway. */
const QUICK_PEERS: readonly PeerName[] = ['nginx-auth', 'bare', 'refuser', 'gateway']

/** How much of a core other programs may use before milliseconds and ratios mean little, in percent. */
const BUSY = 50

async function bench(options: Options<ScenarioName>): Promise<void> {
  const machine = describeMachine()
  say(machine)
  const startedAt = performance.now()
  const foreignAtStart = foreignMicros()
  const results = new Results()
  const tables: string[] = []
  if (options.priority) goFirst()
  const lab = await Lab.open()
  try {
    if (options.soakMinutes === undefined) {
      await measure(options, lab, results)
      if (options.only.length > 0) tables.push(writeTable(results))
      if (options.growth)
        tables.push(await ifPossible('growth', ['wrk'], () => measureGrowth(lab, options)))
    } else {
      const { soakMinutes } = options
      tables.push(await ifPossible('soak', ['wrk', 'ttyd'], () => soak(lab, soakMinutes, say)))
    }
  } finally {
    await lab.close()
  }
  const seconds = (performance.now() - startedAt) / 1000
  const foreign = (foreignMicros() - foreignAtStart) / 1e4 / seconds
  say(
    `medians of ${options.rounds} rounds of ${options.seconds} s, in ${Math.round(seconds)} s; other programs used ${Math.round(foreign)} % of a core meanwhile${foreign < BUSY ? '' : ': too much for any target to mean something'}`,
  )
  for (const table of tables) say(`\n${table}`)
  if (options.json !== undefined)
    writeFileSync(options.json, `${JSON.stringify({ machine, foreign, results }, null, 2)}\n`)
}

/** Measures the selected scenarios and reports the skipped ones. */
async function measure(options: Options<ScenarioName>, lab: Lab, results: Results): Promise<void> {
  const missing = new Set<string>()
  for (const name of options.only)
    await ifPossible(name, SCENARIOS[name].needs, async () => {
      const peers = peersOf(name, options.quick, missing)
      say(`measuring ${name}`)
      await takeTurns(SCENARIOS[name], peers, lab, options, results, say)
      return ''
    })
  for (const line of missing) say(line)
}

/** The peers of a scenario that can be started here. @param missing called with the reason for each other peer */
function peersOf(name: ScenarioName, quick: boolean, missing: Set<string>): PeerName[] {
  return SCENARIOS[name].peers.filter((peer) => {
    if (quick && !QUICK_PEERS.includes(peer)) return false
    const reason = Lab.missing(peer)
    if (reason !== undefined) missing.add(`skipped: ${PEERS[peer]}, ${reason}`)
    return reason === undefined
  })
}

/** Runs a function if its programs are installed, else reports that it is skipped. */
async function ifPossible(
  name: string,
  needs: readonly string[],
  act: () => Promise<string>,
): Promise<string> {
  const problem = whatIsMissing(needs)
  if (problem === undefined) return act()
  say(`skipped: ${name}, ${problem}`)
  return ''
}

function say(text: string): void {
  process.stdout.write(`${text}\n`)
}

for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.once(signal, () => void stopAll().then(() => process.exit(1)))

try {
  const names = Object.keys(SCENARIOS) as ScenarioName[]
  await bench(parseOptions(process.argv.slice(2), names))
} catch (error) {
  process.stderr.write(`bench: ${error instanceof Error ? error.message : String(error)}\n`)
  process.exitCode = 1
}
