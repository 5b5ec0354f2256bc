/** Is an environment a valid configuration? `loadConfig` reads all settings and reports every problem at once. */
import { existsSync, statSync } from 'node:fs'
import { codeOf } from '../answers/errors.ts'
import { readOperatorsFile } from '../store/whole-file.ts'
import { nearestName } from './nearest.ts'
import { crossSettingProblems } from './rules.ts'
import type { Setting } from './setting.ts'
import { SETTINGS, type Config } from './settings.ts'

export type { Config } from './settings.ts'

/** The variables of an environment. */
export type Environment = Readonly<Record<string, string | undefined>>

/** The error of an invalid configuration. Its message lists every problem, one per line, and contains no secret. */
export class ConfigError extends Error {
  readonly problems: readonly string[]

  constructor(problems: readonly string[]) {
    super(`invalid configuration:\n${problems.map((problem) => `  ${problem}`).join('\n')}`)
    this.name = 'ConfigError'
    this.problems = problems
  }
}

const DECLARED = Object.entries(SETTINGS) as ReadonlyArray<
  readonly [keyof Config, Setting<unknown>]
>
const FILE_SUFFIX = '_FILE'

/** The largest file of a secret, in bytes. */
const MAX_SECRET_BYTES = 64 * 1024

/** Every variable that the gateway reads. */
export const KNOWN_VARIABLES: readonly string[] = DECLARED.flatMap(([, { env, secret }]) =>
  secret ? [env, env + FILE_SUFFIX] : [env],
)

/** The variables that hold secrets. They are removed from the environment after they were read. */
export const SECRET_VARIABLES: readonly string[] = DECLARED.filter(([, { secret }]) => secret).map(
  ([, { env }]) => env,
)

/**
 * Reads and checks the whole configuration. An empty value, an unknown `GATEWAY_` name and a secret that is given twice are
 * errors, because a typo must not switch a protection off (CVE-2026-76835).
 * @throws {ConfigError} with every problem
 */
export function loadConfig(env: Environment): Config {
  const problems: string[] = unknownNames(env)
  const values: Partial<Record<keyof Config, unknown>> = {}
  for (const [name, setting] of DECLARED) {
    try {
      values[name] = readSetting(setting, env)
    } catch (error) {
      problems.push(error instanceof Error ? error.message : String(error))
    }
  }
  problems.push(...crossSettingProblems(values as Partial<Config>, env))
  if (problems.length > 0) throw new ConfigError(problems)
  return deepFreeze(values as Config)
}

/** Freezes plain data deeply, so that no code can change a checked setting, such as the list of trusted proxies. */
function deepFreeze<T>(value: T): T {
  if (typeof value !== 'object' || value === null) return value
  for (const part of Object.values(value)) deepFreeze(part)
  return Object.freeze(value)
}

/** The source of a setting's value. */
export type SettingSource = 'environment' | 'file' | 'default'

/** The source of a setting's value, in an environment that {@link loadConfig} accepts. */
export function sourceOf({ env: name, secret }: Setting<unknown>, env: Environment): SettingSource {
  if (secret && env[name + FILE_SUFFIX] !== undefined) return 'file'
  return env[name] === undefined ? 'default' : 'environment'
}

/** Reads one setting. @throws {Error} with the message for the operator */
export function readSetting<T>(setting: Setting<T>, env: Environment): T {
  const { env: name, default: defaultText, secret, accepts } = setting
  const { text, source } = secret ? secretText(name, env) : { text: env[name], source: name }
  if (text === undefined) {
    if (setting.required)
      throw new Error(
        `${name}${secret ? ` (or ${name}${FILE_SUFFIX})` : ''} is not set; it takes ${accepts}`,
      )
    return (defaultText === undefined ? undefined : setting.parse(defaultText)) as T
  }
  // A variable cannot be unset while the gateway runs, but the file of a list can be emptied before SIGHUP.
  const isEmptyList = text === '' && source !== name && defaultText === ''
  if (text === '' && !isEmptyList)
    throw new Error(`${source} is empty; unset it or give it ${accepts}`)
  // Node decodes each such byte as U+FFFD. Secrets that differ in those bytes alone would be one key, and seem longer than they are.
  if (text.includes('\uFFFD'))
    throw new Error(`${source} has bytes that are not UTF-8; it takes ${accepts}`)
  try {
    return setting.parse(text)
  } catch (error) {
    const problem = error instanceof Error ? error.message : 'is not valid'
    // A message that quotes the wrong element of a list does not need the whole list too.
    const quotesItself = problem.startsWith('"')
    const seen = secret || quotesItself ? '' : ` "${withoutPasswords(text).slice(0, 100)}"`
    throw new Error(
      withoutPasswords(
        `${source}${quotesItself ? ':' : ''}${seen} ${problem}; it takes ${accepts}`,
      ),
      { cause: error },
    )
  }
}

/** Masks user names and passwords of URLs in a text. It masks up to the last `@`, because a password may contain an `@`. */
function withoutPasswords(text: string): string {
  return text.replace(/\/\/.*@/gs, '//***@')
}

function secretText(name: string, env: Environment): { text: string | undefined; source: string } {
  const fileName = name + FILE_SUFFIX
  const path = env[fileName]
  if (path === undefined) return { text: valueOf(name, env), source: name }
  if (env[name] !== undefined) throw new Error(`${name} and ${fileName} are both set; keep one`)
  if (path === '') throw new Error(`${fileName} is empty; unset it or give it the path of a file`)
  try {
    const text = readOperatorsFile(path, MAX_SECRET_BYTES)
    return { text: text.replace(/(?:\r?\n)+$/, ''), source: fileName }
  } catch (error) {
    // Do not quote the path, nor attach the cause, which quotes it: the value may be the secret, set in the wrong variable.
    // oxlint-disable-next-line preserve-caught-error
    throw new Error(`${fileName} names a file that cannot be read (${reasonOf(error)})`)
  }
}

/**
 * Refuses files that a program that runs must not read again: a pipe may keep everybody waiting for ever, and a device never ends. At the
 * start a pipe is welcome.
 * @param secrets the variables, without `_FILE`
 * @throws {ConfigError}
 */
export function checkSecretFiles(secrets: readonly string[], env: Environment): void {
  const problems = secrets
    .map((name) => name + FILE_SUFFIX)
    .filter((name) => isIrregular(env[name] ?? ''))
    .map((name) => `${name} names no regular file, and nothing else is read again`)
  if (problems.length > 0) throw new ConfigError(problems)
}

function isIrregular(path: string): boolean {
  try {
    return !statSync(path).isFile()
  } catch {
    return false // reading it says what is wrong
  }
}

/** A secret that stands in its variable. The path of a file is none: whoever knows where the secret is kept would know the secret. */
function valueOf(name: string, env: Environment): string | undefined {
  const text = env[name]
  if (text?.includes('/') === true && existsSync(text))
    throw new Error(`${name} is the path of a file; set ${name}${FILE_SUFFIX} to it`)
  return text
}

/** Why a file cannot be read. Errors of the system have a code, and their messages quote the path. */
function reasonOf(error: unknown): string {
  return codeOf(error) || (error instanceof Error ? error.message : String(error))
}

function unknownNames(env: Environment): string[] {
  return Object.keys(env)
    .filter(
      (name) =>
        name.startsWith('GATEWAY_') && env[name] !== undefined && !KNOWN_VARIABLES.includes(name),
    )
    .map((name) => {
      const nearest = nearestVariable(name)
      return `${name} is not a setting${nearest === undefined ? '' : `; did you mean ${nearest}?`}`
    })
}

/** The known variable that is nearest to a misspelt name; undefined when none is near. */
export function nearestVariable(name: string): string | undefined {
  return nearestName(name, KNOWN_VARIABLES, 3)
}
