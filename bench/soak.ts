/**
 * Does any resource grow without bound? Hours in which everything of a workspace comes and goes, with a sample of every program after each
 * stretch, show it.
 */
import { globSync, statSync, truncateSync } from 'node:fs'
import { basename, join } from 'node:path'
import { pause } from './child.ts'
import type { Lab } from './lab.ts'
import { openFiles, residentBytes } from './proc.ts'
import { inTime, neverDone, type Activity } from './soak/activity.ts'
import { Devices } from './soak/devices.ts'
import { Leases } from './soak/leases.ts'
import { startPrograms, type Program, type Programs } from './soak/programs.ts'
import { crowds } from './soak/requests.ts'
import { Sessions } from './soak/sessions.ts'
import { Terminals } from './soak/terminals.ts'
import { tableOf, verdict, type Look } from './soak/verdict.ts'
import { show } from './table.ts'
import { Inspector } from './used-memory.ts'

/** The rest before a sample (ms). */
const REST_MS = 2000

/** How long an activity may take for a stretch (ms), also on a machine with little time for it. */
const LONGEST_MS = 120_000

/** Loads a workspace for a number of minutes. @param say called with the text of each sample */
export async function soak(
  lab: Lab,
  minutes: number,
  say: (text: string) => void,
): Promise<string> {
  const programs = await startPrograms(lab)
  const activities: Activities = {
    crowds: crowds(lab, programs),
    sessions: new Sessions(programs),
    terminals: new Terminals(programs),
    leases: new Leases(programs),
    devices: new Devices(programs),
  }
  try {
    const { looks, written } = await repeat({ lab, programs, activities, minutes, say })
    const missing = neverDone(activities)
    if (missing.length > 0) throw new Error(`these never happened: ${missing.join(', ')}`)
    return [
      ...[...looks].map(([name, seen]) => `${name}\n${tableOf(seen)}`),
      [...looks].map(([name, seen]) => verdict(name, seen)).join('\n'),
      `done\n${countsOf(activities)}`,
      `written\n${sizesOf(lab.folder, written)}`,
    ].join('\n\n')
  } finally {
    for (const activity of Object.values(activities)) activity.close?.()
  }
}

type Activities = Readonly<Record<string, Activity>>

/** What a soak has seen. */
interface Soaked {
  /** The samples by the names of the programs. */
  readonly looks: ReadonlyMap<string, readonly Look[]>
  /** How much was written to each log, in bytes. */
  readonly written: ReadonlyMap<string, number>
}

/** Lets everything happen again and again, with a sample after each stretch. */
async function repeat({
  lab,
  programs: { sampled },
  activities,
  minutes,
  say,
}: {
  readonly lab: Lab
  readonly programs: Programs
  readonly activities: Activities
  readonly minutes: number
  readonly say: (text: string) => void
}): Promise<Soaked> {
  const looks = new Map<string, Look[]>(sampled.map(({ name }) => [name, []]))
  const written = new Map<string, number>()
  const inspectors = await Promise.all(sampled.map((program) => Inspector.open(program)))
  try {
    const endsAt = performance.now() + minutes * 60_000
    for (let stretch = 1; performance.now() < endsAt; stretch++) {
      await doAll(activities, (activity) => activity.stretch())
      await pause(REST_MS)
      say(`stretch ${stretch}`)
      for (const [i, program] of sampled.entries()) {
        const look = await lookAt(program, inspectors[i] as Inspector)
        looks.get(program.name)?.push(look)
        say(`  ${program.name} ${JSON.stringify(look)}`)
      }
      emptyLogs(lab.folder, written)
    }
    await doAll(activities, async (activity) => activity.finish?.())
    return { looks, written }
  } finally {
    for (const inspector of inspectors) inspector.close()
  }
}

/** Lets all activities do something at once. @throws {Error} with the name of the one that has failed */
async function doAll(
  activities: Activities,
  what: (activity: Activity) => Promise<void>,
): Promise<void> {
  await Promise.all(
    Object.entries(activities).map(async ([name, activity]) => {
      try {
        await inTime('the end of what it does', what(activity), LONGEST_MS)
      } catch (cause) {
        const why = cause instanceof Error ? cause.message : String(cause)
        throw new Error(`soak, ${name}: ${why}`, { cause })
      }
    }),
  )
}

/** Samples a program. */
async function lookAt({ pid, counts }: Program, inspector: Inspector): Promise<Look> {
  const residentMib = residentBytes([pid]) / 2 ** 20 // before the collection of garbage
  const usedMib = (await inspector.usedBytes()) / 2 ** 20
  return { residentMib, usedMib, files: openFiles([pid]), ...(await counts()) }
}

/** Empties every log, which would fill the disk in an hour. @param written how much was written to each, in bytes */
function emptyLogs(folder: string, written: Map<string, number>): void {
  for (const path of globSync('**/*.log', { cwd: folder })) {
    const file = join(folder, path)
    const name = basename(path)
    written.set(name, (written.get(name) ?? 0) + statSync(file).size)
    truncateSync(file)
  }
}

function countsOf(activities: Activities): string {
  return Object.entries(activities)
    .map(([name, { done }]) => {
      const counts = Object.entries(done).map(([what, count]) => `${what} ${show(count, 0)}`)
      return `${name}: ${counts.join(', ')}`
    })
    .join('\n')
}

/** How large the files are that programs keep, and how much was written to the logs. */
function sizesOf(folder: string, written: ReadonlyMap<string, number>): string {
  const kept = globSync('**/{state.db*,vault-audit*,.vault.enc,devices.json}', { cwd: folder }).map(
    (path): [string, number] => [basename(path), statSync(join(folder, path)).size],
  )
  return [...kept, ...written]
    .map(([name, bytes]) => `${name}: ${show(bytes / 2 ** 20, 2)} MiB`)
    .join('\n')
}
