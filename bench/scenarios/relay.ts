/** What does the relay cost? What it adds to a message, how fast one room is, and the memory of rooms in which nothing happens. */
import { pause, runScript } from '../child.ts'
import { openRooms, type RoomJob, type RoomResult } from '../load/rooms.ts'
import type { Lab } from '../lab.ts'
import type { Peer } from '../peers/peer.ts'
import { cpuMicros, residentBytes } from '../proc.ts'
import { cpuIn, type Scenario, type Values } from './scenario.ts'

export const relay: Scenario = {
  peers: ['relay'],
  needs: [],
  load: async (peer, lab, seconds) => cpuIn(await pass(peer, lab, seconds)),
  measure: pass,
}

async function pass({ port, processes }: Peer, _lab: Lab, seconds: number): Promise<Values> {
  const run = (what: RoomJob['what']) => {
    const job: RoomJob = { port, what, seconds: Math.max(1, Math.floor(seconds / 2)) }
    const script = new URL('../load/rooms.ts', import.meta.url)
    return runScript<RoomResult>(script, job)
  }
  const { value, direct = Number.NaN } = await run('echo')
  const before = cpuMicros(processes)
  const bulk = await run('bulk')
  const cpu = (cpuMicros(processes) - before) / 1000
  const megabytes = bulk.value * Math.max(1, Math.floor(seconds / 2))
  return {
    'room-echo': value,
    'room-added': (value - direct) / 2, // there and back is twice through the relay
    'room-rate': bulk.value,
    'room-cpu': (cpu * 100) / megabytes,
  }
}

/** How long the relay rests before its memory is measured, in milliseconds. */
const REST_MS = 2000

/** How many rooms there are when the first measurement is made, and when the second is. Each takes two files of every process. */
const FEW = 500
const MANY = 4000

/** The rooms that the target is for: more than the files that a process may have open on most machines. */
const AIMED = 10_000

export const relayMemory: Scenario = {
  peers: ['relay'],
  needs: [],
  measure: ({ name }, lab) => memoryOfRooms(lab, name),
}

async function memoryOfRooms(lab: Lab, name: Peer['name']): Promise<Values> {
  const peer = await lab.fresh(name, 'anywhere')
  const memory = async () => {
    await pause(REST_MS)
    return residentBytes(peer.processes)
  }
  const ends: Array<() => void> = []
  try {
    const rest = await memory()
    ends.push((await openRooms(peer.port, FEW)).end)
    const few = await memory()
    ends.push((await openRooms(peer.port, MANY - FEW, FEW)).end)
    const many = await memory()
    const each = (many - few) / (MANY - FEW)
    return {
      'relay-idle': rest / 2 ** 20,
      'room-memory': each / 1024,
      'rooms-memory': (many + each * (AIMED - MANY)) / 2 ** 20,
    }
  } finally {
    for (const end of ends) end()
    await peer.stop()
  }
}
