/**
 * What does a credential of the vault cost? The same request goes to the service directly and through the vault, which writes a row of
 * its audit log to the disk before the request leaves. The disk's own time for that is measured beside it.
 */
import { closeSync, fdatasyncSync, openSync, rmSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { pause, runScript } from '../child.ts'
import type { Lab } from '../lab.ts'
import type { BodyJob } from '../load/body.ts'
import { SMALL_RATE } from '../load/paced.ts'
import type { PacerJob, PacerResult } from '../load/pacer.ts'
import type { ScrubResult } from '../load/scrub.ts'
import type { Peer } from '../peers/peer.ts'
import { cpuMicros } from '../proc.ts'
import { median } from '../statistics.ts'
import type { Scenario } from './scenario.ts'

/** The rate of the warm-up, at which Node compiles hot code in a few seconds. */
const WARM_UP_RATE = 1000

const BIG_BYTES = 100e6

/** The length of an audit row (bytes), and how many are written to find out what the disk takes. */
const ROW_BYTES = 400
const ROWS = 200

export const vault: Scenario = {
  peers: ['direct', 'vault'],
  needs: [],
  load: async (peer, _lab, seconds) => (await ask(peer, WARM_UP_RATE, seconds)).cpu,
  async measure(peer, lab, seconds) {
    const { p50, cpu } = await ask(peer, SMALL_RATE, seconds)
    const down = await download(peer)
    if (peer.vault === undefined) return { 'vault-p50': p50, 'vault-down': down }
    const { json, base64, worst } = await scrub(lab)
    return {
      ...{ 'vault-p50': p50, 'vault-cpu': cpu, 'vault-down': down },
      'vault-disk': await syncMs(peer.vault.folder),
      ...{ 'scrub-json': json, 'scrub-base64': base64, 'scrub-worst': worst },
    }
  },
  conclude(round) {
    const values = round.get('vault')
    const own = values?.['vault-p50']
    const direct = round.get('direct')?.['vault-p50']
    if (values !== undefined && own !== undefined && direct !== undefined)
      values['vault-added'] = own - direct
  },
}

async function ask(
  peer: Peer,
  rate: number,
  seconds: number,
): Promise<{ p50: number; cpu: number }> {
  const { port, path, processes } = peer
  const job: PacerJob = {
    ...{ port, path, rate, seconds, connections: 16 },
    headers: await headersFor(peer),
  }
  const before = cpuMicros(processes)
  const { p50, wrong, requests } = await runScript<PacerResult>(
    new URL('../load/pacer.ts', import.meta.url),
    job,
  )
  if (wrong > 0) throw new Error(`port ${port} ${path}: ${wrong} of ${requests} were not 200`)
  return { p50, cpu: (cpuMicros(processes) - before) / requests }
}

/** @returns megabytes a second */
async function download(peer: Peer): Promise<number> {
  const job: BodyJob = {
    ...{ port: peer.port, direction: 'download', bytes: BIG_BYTES },
    path: peer.path.replace(/\/x$/, '/big'),
    headers: await headersFor(peer),
  }
  const script = new URL('../load/body.ts', import.meta.url)
  const { seconds } = await runScript<{ seconds: number }>(script, job)
  return BIG_BYTES / 1e6 / seconds
}

async function headersFor(peer: Peer): Promise<Readonly<Record<string, string>>> {
  return (await peer.vault?.headers()) ?? { Host: `127.0.0.1:${peer.port}` }
}

/** The scrubber is measured once for each run: it depends on nothing that changes between rounds. */
const scrubbed = new WeakMap<Lab, Promise<ScrubResult>>()

function scrub(lab: Lab): Promise<ScrubResult> {
  const known = scrubbed.get(lab)
  if (known !== undefined) return known
  const result = runScript<ScrubResult>(new URL('../load/scrub.ts', import.meta.url), {})
  scrubbed.set(lab, result)
  return result
}

/** What one appended row and its fdatasync take at the modest rate, median in milliseconds. */
async function syncMs(folder: string): Promise<number> {
  const path = join(folder, 'disk')
  const file = openSync(path, 'a')
  const times: number[] = []
  try {
    const row = Buffer.alloc(ROW_BYTES, 'x')
    while (times.length < ROWS) {
      await pause(1000 / SMALL_RATE)
      const startedAt = performance.now()
      writeSync(file, row)
      fdatasyncSync(file)
      times.push(performance.now() - startedAt)
    }
  } finally {
    closeSync(file)
    rmSync(path)
  }
  return median(times)
}
