/** What does it cost that terminals survive? Output and echo with the keeper and without, and the keeper's memory. */
import type { WebSocket } from 'ws'
import { pause, runScript } from '../child.ts'
import { openTerminal, type TerminalJob } from '../load/terminals.ts'
import { address } from '../load/request-file.ts'
import { usedBytes } from '../used-memory.ts'
import type { Lab } from '../lab.ts'
import type { Peer } from '../peers/peer.ts'
import { cpuMicros, ownBytes, residentBytes } from '../proc.ts'
import { mint, visitorHeaders } from '../workspace.ts'
import { cpuIn, type Scenario, type Values } from './scenario.ts'

export const terminals: Scenario = {
  peers: ['ttyd', 'kept'],
  needs: [],
  load: async (peer, lab, seconds) => cpuIn(await typeAndRead(peer, lab, seconds)),
  measure: typeAndRead,
  conclude(round) {
    const [plain, kept] = [round.get('ttyd'), round.get('kept')]
    if (kept !== undefined) kept['key-added'] = (kept.key ?? NaN) - (plain?.key ?? NaN)
  },
}

async function typeAndRead({ port, processes }: Peer, _lab: Lab, seconds: number): Promise<Values> {
  const run = async (what: TerminalJob['what']) => {
    const job: TerminalJob = { port, what, seconds: Math.max(1, Math.floor(seconds / 2)) }
    const script = new URL('../load/terminals.ts', import.meta.url)
    return { ...job, ...(await runScript<{ value: number }>(script, job)) }
  }
  const key = await run('echo')
  const before = cpuMicros(processes)
  const output = await run('bulk')
  const cpu = (cpuMicros(processes) - before) / 1000
  return {
    key: key.value,
    'output-rate': output.value,
    'output-cpu': (cpu * 100) / (output.value * output.seconds),
  }
}

/** How many terminals there are when the first measurement is made, how many when the second is, and how many a session has. */
const FEW = 12
const MANY = 60
const PER_SESSION = 8

/** How long the keeper rests before its memory is measured, in milliseconds. */
const REST_MS = 2000

export const terminalMemory: Scenario = {
  peers: ['kept'],
  needs: [],
  measure: ({ name }, lab) => memoryOfTerminals(lab, name),
}

async function memoryOfTerminals(lab: Lab, name: Peer['name']): Promise<Values> {
  const peer = await lab.fresh(name, 'anywhere')
  const { keeper } = peer
  if (keeper === undefined) throw new Error(`${name} has no keeper of terminals`)
  const used = async () => {
    await pause(REST_MS)
    return usedBytes(keeper)
  }
  const open: WebSocket[] = []
  try {
    await pause(REST_MS)
    const atRest = residentBytes([keeper.pid])
    const own = ownBytes([keeper.pid])
    await openUntil(FEW, peer.port, open)
    const few = await used()
    await openUntil(MANY, peer.port, open)
    const many = await used()
    for (const socket of open) socket.send("0seq -f '%078.0f' 1500\r")
    await pause(REST_MS)
    for (const socket of open) socket.terminate()
    const parked = await used()
    return {
      'keeper-idle': atRest / 2 ** 20,
      'keeper-own': own / 2 ** 20,
      attached: (many - few) / 1024 / (MANY - FEW),
      parked: (parked - many) / 1024 / MANY,
    }
  } finally {
    for (const socket of open) socket.terminate()
    await peer.stop()
  }
}

async function openUntil(count: number, port: number, open: WebSocket[]): Promise<void> {
  while (open.length < count) {
    const visitor = Math.floor(open.length / PER_SESSION)
    const headers = visitorHeaders(address(visitor), mint(`visitor-${visitor}`))
    open.push(await openTerminal(port, `bench-terminal-${open.length}`, headers))
  }
}
