/**
 * Does any resource grow without bound? Hours in which everything of a workspace comes and goes, with a sample of every program after each
 * stretch, show it.
 */
import { globSync, statSync, truncateSync } from 'node:fs'
import { basename, join } from 'node:path'
import { pause } from './child.ts'
import type { Lab } from './lab.ts'
import { openFiles, residentBytes } from './proc.ts'
import { neverDone, type Activity } from './soak/activity.ts'
import { Devices } from './soak/devices.ts'
import { Leases } from './soak/leases.ts'
import { startPrograms, type Program } from './soak/programs.ts'
import { crowds } from './soak/requests.ts'
import { Sessions } from './soak/sessions.ts'
import { Terminals } from './soak/terminals.ts'
import { tableOf, verdict, type Look } from './soak/verdict.ts'
import { show } from './table.ts'
import { usedBytes } from './used-memory.ts'

/** The rest before a sample (ms). */
const REST_MS = 2000

/** Loads a workspace for a number of minutes. @param say called with the text of each sample */
export async function soak(
  lab: Lab,
  minutes: number,
  say: (text: string) => void,
): Promise<string> {
  const programs = await startPrograms(lab)
  const activities: Readonly<Record<string, Activity>> = {
    crowds: crowds(lab, programs),
    sessions: new Sessions(programs),
    terminals: new Terminals(programs),
    leases: new Leases(programs),
    devices: new Devices(programs),
  }
  const looks = new Map<Program, Look[]>(programs.sampled.map((program) => [program, []]))
  const written = new Map<string, number>()
  const endsAt = performance.now() + minutes * 60_000
  for (let stretch = 1; performance.now() < endsAt; stretch++) {
    await doAll(activities, (activity) => activity.stretch())
    await pause(REST_MS)
    for (const [program, seen] of looks) seen.push(await lookAt(program))
    emptyLogs(lab.folder, written)
    const latest = [...looks].map(([{ name }, seen]) => `${name} ${JSON.stringify(seen.at(-1))}`)
    say(`stretch ${stretch}\n  ${latest.join('\n  ')}`)
  }
  await doAll(activities, async (activity) => activity.finish?.())
  const missing = neverDone(activities)
  if (missing.length > 0) throw new Error(`these never happened: ${missing.join(', ')}`)
  return [
    ...[...looks].map(([{ name }, seen]) => `${name}\n${tableOf(seen)}`),
    [...looks].map(([{ name }, seen]) => verdict(name, seen)).join('\n'),
    `done\n${countsOf(activities)}`,
    `written\n${sizesOf(lab.folder, written)}`,
  ].join('\n\n')
}

/** Lets all activities do something at once. @throws {Error} with the name of the one that has failed */
async function doAll(
  activities: Readonly<Record<string, Activity>>,
  what: (activity: Activity) => Promise<void>,
): Promise<void> {
  await Promise.all(
    Object.entries(activities).map(async ([name, activity]) => {
      try {
        await what(activity)
      } catch (cause) {
        const why = cause instanceof Error ? cause.message : String(cause)
        throw new Error(`soak, ${name}: ${why}`, { cause })
      }
    }),
  )
}

/** Samples a program. What it uses comes last, because its inspector, which tells it, opens files. */
async function lookAt(program: Program): Promise<Look> {
  const residentMib = residentBytes([program.pid]) / 2 ** 20
  const files = openFiles([program.pid])
  const counts = await program.counts()
  return { residentMib, usedMib: (await usedBytes(program)) / 2 ** 20, files, ...counts }
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

function countsOf(activities: Readonly<Record<string, Activity>>): string {
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
