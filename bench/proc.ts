/** What did a process use? Processor time, memory and open files, read from /proc. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'

/** The unit of processor time in /proc: `USER_HZ`, 100 in a second on every Linux that Node runs on. */
const MICROS_A_TICK = 10_000

/** The fields of /proc/PID/stat that are used here. */
export interface ProcessStat {
  readonly pid: number
  readonly parent: number
  /** User and system time of all threads, including ended ones, in microseconds. */
  readonly cpuMicros: number
  /** User and system time of ended and reaped descendants, in microseconds. */
  readonly reapedMicros: number
}

/** Reads the fields. The command's name is in brackets and may itself contain spaces and brackets. */
export function parseStat(line: string): ProcessStat {
  const fields = line.slice(line.lastIndexOf(')') + 2).split(' ') // begins with field 3, the state
  const field = (number: number) => Number(fields[number - 3])
  return {
    pid: Number.parseInt(line, 10),
    parent: field(4),
    cpuMicros: (field(14) + field(15)) * MICROS_A_TICK,
    reapedMicros: (field(16) + field(17)) * MICROS_A_TICK,
  }
}

/** The value of a field of /proc/PID/status or /proc/PID/smaps_rollup, converted from kB to bytes. */
export function parseStatusBytes(status: string, name: string): number {
  return Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1]) * 1024
}

/** These processes and all their running descendants. */
function withDescendants(roots: readonly number[]): ProcessStat[] {
  const all = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => {
      try {
        return parseStat(readFileSync(`/proc/${pid}/stat`, 'utf8'))
      } catch {
        return [] // it ended meanwhile
      }
    })
  const wanted = new Set(roots)
  let before = 0
  while (wanted.size > before) {
    before = wanted.size
    for (const { pid, parent } of all) if (wanted.has(parent)) wanted.add(pid)
  }
  return all.filter(({ pid }) => wanted.has(pid))
}

/** The processor time of these processes and their descendants, in microseconds. */
export function cpuMicros(roots: readonly number[]): number {
  return withDescendants(roots).reduce((sum, stat) => sum + stat.cpuMicros, 0)
}

function sumOf(
  roots: readonly number[],
  file: 'status' | 'smaps_rollup',
  fields: readonly string[],
): number {
  let sum = 0
  for (const { pid } of withDescendants(roots)) {
    const text = readFileSync(`/proc/${pid}/${file}`, 'utf8')
    for (const field of fields) sum += parseStatusBytes(text, field)
  }
  return sum
}

/** The sum of their resident memory, in bytes. A shared page is counted for each process. */
export function residentBytes(roots: readonly number[]): number {
  return sumOf(roots, 'status', ['VmRSS'])
}

/** The memory that no other process on this machine shares, in bytes: what it would have back without these. */
export function ownBytes(roots: readonly number[]): number {
  return sumOf(roots, 'smaps_rollup', ['Private_Clean', 'Private_Dirty'])
}

/** Resets the kernel's high-water mark of their memory. */
export function resetPeak(roots: readonly number[]): void {
  for (const { pid } of withDescendants(roots)) writeFileSync(`/proc/${pid}/clear_refs`, '5')
}

/** Their highest resident memory since {@link resetPeak}, in bytes. */
export function peakBytes(roots: readonly number[]): number {
  return sumOf(roots, 'status', ['VmHWM'])
}

/** The number of files and sockets that they have open. */
export function openFiles(roots: readonly number[]): number {
  return withDescendants(roots).reduce(
    (sum, { pid }) => sum + readdirSync(`/proc/${pid}/fd`).length,
    0,
  )
}

/** The processor time of all programs on this machine, in microseconds (the first line of /proc/stat). */
export function parseMachineMicros(stat: string): number {
  const [line = ''] = stat.split('\n', 1)
  const [, user = 0, nice = 0, system = 0, , , irq = 0, softIrq = 0] = line.split(/ +/).map(Number)
  return (user + nice + system + irq + softIrq) * MICROS_A_TICK
}

/** The processor time of programs outside the benchmark, in microseconds. Ended children count as the benchmark's. */
export function foreignMicros(): number {
  const ours = withDescendants([process.pid]).reduce(
    (sum, { cpuMicros: own, reapedMicros }) => sum + own + reapedMicros,
    0,
  )
  return parseMachineMicros(readFileSync('/proc/stat', 'utf8')) - ours
}
