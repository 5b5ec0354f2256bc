/** How are the settings of our other programs read? By the rules of the gateway's, each program those of its own prefix. */
import { nearestName } from './nearest.ts'
import { readSetting, type Environment } from './load.ts'
import type { Setting } from './setting.ts'

/** The declarations of a program's settings, by their names in the code. */
export type ProgramSettings = Readonly<Record<string, Setting<unknown>>>

/** The values of a program's settings. */
export type ValuesOf<Settings extends ProgramSettings> = {
  readonly [Name in keyof Settings]: ReturnType<Settings[Name]['parse']>
}

/** What was read: the values that could be, and one line for each that could not. */
export interface ReadSettings<Settings extends ProgramSettings> {
  readonly values: Partial<ValuesOf<Settings>>
  readonly problems: string[]
}

/** Reads a program's settings. The values are complete when there is no problem. */
export function readProgramSettings<Settings extends ProgramSettings>(
  settings: Settings,
  env: Environment,
): ReadSettings<Settings> {
  const values: Record<string, unknown> = {}
  const problems: string[] = []
  for (const [name, setting] of Object.entries(settings)) {
    try {
      values[name] = readSetting(setting, env)
    } catch (error) {
      problems.push(error instanceof Error ? error.message : String(error))
    }
  }
  return { values: values as Partial<ValuesOf<Settings>>, problems }
}

/** One line for each variable that begins with the prefix and is none of the program's. @param names the program's variables */
export function unknownVariables(
  prefix: string,
  names: readonly string[],
  env: Environment,
): string[] {
  return Object.keys(env)
    .filter((name) => name.startsWith(prefix) && env[name] !== undefined && !names.includes(name))
    .map((name) => {
      const nearest = nearestName(name, names, 3)
      return `${name} is not a setting${nearest === undefined ? '' : `; did you mean ${nearest}?`}`
    })
}
