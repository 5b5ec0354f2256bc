/** How does a test open a state? In a folder of its own, with a log that it can read. */
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import type { Test } from 'tap'
import { State, type StateOptions } from '../../src/store/state.ts'
import { allEndings, allWatermarks, putEnding } from '../../src/store/session-rows.ts'
import { recordingLogger } from './operations.ts'

/** A time that no test reaches, in milliseconds since 1970. */
export const FAR = 1e15

/** Opens the state in a folder. It is closed when the test ends. */
export async function openState(t: Test, stateDir: string, options: Partial<StateOptions> = {}) {
  const { logger, lines } = recordingLogger()
  const state = await State.open(stateDir, { logger, ...options })
  t.teardown(() => state.close())
  return {
    state,
    lines,
    /** The messages of a level so far. */
    said: (level: string) =>
      lines()
        .filter((line) => line['level'] === level)
        .map(({ msg }) => msg),
    /** Makes a security write. */
    end: (id: string) => state.write((database) => putEnding(database, id, 'revoked', FAR)),
    /** Makes a write that waits when it cannot be made. */
    endSurely: (id: string) =>
      state.writeSurely((database) => putEnding(database, id, 'revoked', FAR)),
    ended: () => idsIn(state),
    /** The watermark of everybody; undefined when there is none. */
    watermark: () => state.read(allWatermarks)?.find(([subject]) => subject === '')?.[1],
  }
}

/** The ids of the endings in a state. */
export function idsIn(state: State): string[] {
  return (state.read(allEndings) ?? []).map(([id]) => id)
}

/** The path of the state file in a folder. */
export const fileIn = (stateDir: string): string => join(stateDir, 'state.db')

/** The names of damaged files in a folder, without those that belong to them. */
export const asideIn = (stateDir: string): string[] =>
  readdirSync(stateDir).filter((name) => /\.corrupt-[0-9TZ]+$/.test(name))
