/** How busy is this machine? This stand-in for the workspace's stats server reports it. */
import { readdir, statfs } from 'node:fs/promises'
import { cpus, freemem, hostname, loadavg, totalmem, uptime } from 'node:os'
import { buildStandIn, listen, type Running } from './listener.ts'

/** The response of `/health`. Sizes are in bytes, times in seconds, utilisation from 0 to 100. */
export interface Stats {
  status: 'ok'
  hostname: string
  node: string
  uptimeSeconds: number
  load: { one: number; five: number; fifteen: number }
  cpu: { count: number; model: string; utilisationPercent: number }
  memory: { totalBytes: number; freeBytes: number; usedBytes: number }
  /** The file system of the current directory; null where it cannot be read. */
  disk: { totalBytes: number; freeBytes: number; usedBytes: number } | null
  /** The number of processes on this machine; null where there is no /proc. */
  processes: number | null
}

interface CpuTimes {
  busy: number
  total: number
  at: number
}

/** The minimum time between two samples, in milliseconds. A shorter interval gives a random figure. */
const SAMPLE_MS = 1000

/** Starts the stats server: `GET /health` and `GET /stats`, the same figures. */
export async function startStatsServer(): Promise<Running> {
  const app = buildStandIn()
  const utilisation = cpuMeter()
  for (const path of ['/health', '/stats']) {
    app.get(path, async function answerStats(_request, reply) {
      reply.header('cache-control', 'no-store')
      return await readStats(utilisation())
    })
  }
  return await listen(app)
}

async function readStats(utilisationPercent: number): Promise<Stats> {
  const [one = 0, five = 0, fifteen = 0] = loadavg()
  const [disk, processes] = await Promise.all([readDisk(), countProcesses()])
  const totalBytes = totalmem()
  const freeBytes = freemem()
  return {
    status: 'ok',
    hostname: hostname(),
    node: process.version,
    uptimeSeconds: Math.round(uptime()),
    load: { one: round(one), five: round(five), fifteen: round(fifteen) },
    cpu: { count: cpus().length, model: cpus()[0]?.model.trim() ?? '', utilisationPercent },
    memory: { totalBytes, freeBytes, usedBytes: totalBytes - freeBytes },
    disk,
    processes,
  }
}

/** Makes a function that returns the utilisation of the processors since its last call, at first since the machine started. */
function cpuMeter(): () => number {
  let last: CpuTimes = { busy: 0, total: 0, at: -Infinity }
  let percent = 0
  return () => {
    const now = cpuTimes()
    if (now.at - last.at >= SAMPLE_MS && now.total > last.total) {
      percent = round((100 * (now.busy - last.busy)) / (now.total - last.total))
      last = now
    }
    return percent
  }
}

function cpuTimes(): CpuTimes {
  const times = cpus().map((cpu) => cpu.times)
  const total = times.reduce((sum, t) => sum + t.user + t.nice + t.sys + t.idle + t.irq, 0)
  const idle = times.reduce((sum, t) => sum + t.idle, 0)
  return { busy: total - idle, total, at: performance.now() }
}

async function readDisk(): Promise<Stats['disk']> {
  try {
    const { bsize, blocks, bfree, bavail } = await statfs(process.cwd())
    // As in df: "free" is what this user can still use, and the two do not add up, because some space is reserved for root.
    return {
      totalBytes: bsize * blocks,
      freeBytes: bsize * bavail,
      usedBytes: bsize * (blocks - bfree),
    }
  } catch {
    return null
  }
}

async function countProcesses(): Promise<number | null> {
  try {
    return (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).length
  } catch {
    return null
  }
}

function round(value: number): number {
  return Math.round(value * 100) / 100
}
