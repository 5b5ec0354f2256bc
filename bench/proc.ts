/** What did a process use? Processor time, memory and open files, as the kernel keeps them in /proc. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'

/** The unit of processor time in /proc: `USER_HZ`, 100 in a second on every Linux that Node runs on. */
const MICROS_A_TICK = 10_000

/** One line of /proc/PID/stat. */
export interface ProcessStat {
  readonly pid: number
  readonly parent: number
  /** User and system time of all its threads, those that ended too, in microseconds. */
  readonly cpuMicros: number
  /** The same of its children that ended, and of theirs. */
  readonly reapedMicros: number
}

/** Reads the line. The command's name is in brackets and may hold spaces and brackets itself. */
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

/** The value of a field of /proc/PID/status that is in kB, in bytes. */
export function parseStatusBytes(status: string, name: string): number {
  return Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1]) * 1024
}

/** These processes and everything they started that still runs. */
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

/** Processor time that these processes and their descendants have used, in microseconds. */
export function cpuMicros(roots: readonly number[]): number {
  return withDescendants(roots).reduce((sum, stat) => sum + stat.cpuMicros, 0)
}

function sumOfStatus(roots: readonly number[], field: string): number {
  return withDescendants(roots).reduce(
    (sum, { pid }) => sum + parseStatusBytes(readFileSync(`/proc/${pid}/status`, 'utf8'), field),
    0,
  )
}

/** Their resident memory together, in bytes. Pages that they share are counted once for each. */
export function residentBytes(roots: readonly number[]): number {
  return sumOfStatus(roots, 'VmRSS')
}

/** Begins anew to note how large they become. */
export function resetPeak(roots: readonly number[]): void {
  for (const { pid } of withDescendants(roots)) writeFileSync(`/proc/${pid}/clear_refs`, '5')
}

/** The most memory that they had resident since {@link resetPeak}, in bytes. */
export function peakBytes(roots: readonly number[]): number {
  return sumOfStatus(roots, 'VmHWM')
}

/** How many files and sockets they have open together. */
export function openFiles(roots: readonly number[]): number {
  return withDescendants(roots).reduce(
    (sum, { pid }) => sum + readdirSync(`/proc/${pid}/fd`).length,
    0,
  )
}

/** Processor time that everybody on this machine has used, in microseconds (the first line of /proc/stat). */
export function parseMachineMicros(stat: string): number {
  const [line = ''] = stat.split('\n', 1)
  const [, user = 0, nice = 0, system = 0, , , irq = 0, softIrq = 0] = line.split(/ +/).map(Number)
  return (user + nice + system + irq + softIrq) * MICROS_A_TICK
}

/** Processor time that programs other than ours have used, in microseconds. Those of ours that ended count as ours. */
export function foreignMicros(): number {
  const ours = withDescendants([process.pid]).reduce(
    (sum, { cpuMicros: own, reapedMicros }) => sum + own + reapedMicros,
    0,
  )
  return parseMachineMicros(readFileSync('/proc/stat', 'utf8')) - ours
}
