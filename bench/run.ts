/** `npm run bench`: the gateway and its peers, measured in turns against one upstream; prints one table. */
import { writeFileSync } from 'node:fs'
import { stopAll } from './child.ts'
import { Lab, whatIsMissing } from './lab.ts'
import { describeMachine } from './machine.ts'
import { parseOptions, type Options } from './options.ts'
import { PEERS, type PeerName } from './peers/peer.ts'
import { foreignMicros } from './proc.ts'
import { SCENARIOS } from './scenarios/all.ts'
import { writeTable } from './table.ts'
import { Results, takeTurns } from './turns.ts'

/** Who is measured between two changes: what is replaced, what can be reached, and the gateway. */
const QUICK_PEERS: readonly PeerName[] = ['nginx-auth', 'bare', 'gateway']

async function bench(options: Options): Promise<void> {
  const machine = describeMachine()
  say(machine)
  const missing = new Set<string>()
  const results = new Results()
  const startedAt = performance.now()
  const foreignAtStart = foreignMicros()
  const lab = await Lab.open()
  try {
    for (const name of options.only) {
      const scenario = SCENARIOS[name]
      const problem = whatIsMissing(scenario.needs)
      if (problem !== undefined) {
        say(`skipped: ${name}, ${problem}`)
        continue
      }
      const peers = scenario.peers.filter((peer) => {
        if (options.quick && !QUICK_PEERS.includes(peer)) return false
        const reason = Lab.missing(peer)
        if (reason !== undefined) missing.add(`skipped: ${PEERS[peer]}, ${reason}`)
        return reason === undefined
      })
      say(`measuring ${name}`)
      await takeTurns(scenario, peers, lab, options, results)
    }
  } finally {
    await lab.close()
  }
  for (const line of missing) say(line)
  const seconds = (performance.now() - startedAt) / 1000
  const foreign = (foreignMicros() - foreignAtStart) / 1e4 / seconds
  say(
    `medians of ${options.rounds} rounds of ${options.seconds} s after one to warm up, in ${Math.round(seconds)} s; other programs used ${Math.round(foreign)} % of a core meanwhile\n`,
  )
  say(writeTable(results))
  if (options.json !== undefined)
    writeFileSync(options.json, `${JSON.stringify({ machine, results }, null, 2)}\n`)
}

function say(text: string): void {
  process.stdout.write(`${text}\n`)
}

for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.once(signal, () => void stopAll().then(() => process.exit(1)))

try {
  await bench(parseOptions(process.argv.slice(2)))
} catch (error) {
  process.stderr.write(`bench: ${error instanceof Error ? error.message : String(error)}\n`)
  process.exitCode = 1
}
