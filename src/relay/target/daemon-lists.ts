/** Which hosts and origins does Hubcode's daemon serve? Those of `$HUBCODE_HOME/config.json`, which is read once, at the start. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { codeOf } from '../../answers/errors.ts'
import { ConfigError } from '../../config/load.ts'
import { parseOrigin } from '../../config/values.ts'
import { parseHostRule, type HostRule } from '../../rules/host.ts'

/** The lists of the daemon. */
export interface DaemonLists {
  /** `daemon.allowedHosts`: hosts besides localhost, `*.localhost` and IP literals, which are always served. `true` there is `*`. */
  readonly allowedHosts: readonly HostRule[]
  /** `daemon.cors.allowedOrigins` and `cors.allowedOrigins`: origins besides the daemon's own, compared exactly. */
  readonly allowedOrigins: readonly string[]
}

/** The daemon's file in `$HUBCODE_HOME`. */
const CONFIG_FILE = 'config.json'

/** The largest file that is read, in bytes. */
const MAX_BYTES = 1024 * 1024

/** Entries of one list. */
const MAX_ENTRIES = 1000

/** Spellings of what is served anyway. */
const ALWAYS_SERVED: ReadonlySet<string> = new Set(['localhost', '.localhost', '*.localhost'])

/** The origin of a page that is no web page, such as `hubcode://app` of a desktop program. */
const APP_ORIGIN = /^(?!https?:)[a-z][a-z0-9+.-]{0,30}:\/\/[A-Za-z0-9._-]{1,200}$/

/**
 * Reads the lists.
 * @param home `$HUBCODE_HOME`; undefined when it is not set. Without it, or without the file, both lists are empty.
 * @throws {ConfigError} with every problem: a list that cannot be read must not become an empty one, nor one that has all
 */
export function readDaemonLists(home: string | undefined): DaemonLists {
  const problems: string[] = []
  const path = join(home ?? '/', CONFIG_FILE)
  const fields = home === undefined ? {} : readFields(path)
  const daemon = objectIn(fields, 'daemon', path, problems)
  const cors = [objectIn(daemon, 'cors', path, problems), objectIn(fields, 'cors', path, problems)]
  const lists: DaemonLists = {
    allowedHosts: hostsIn(daemon['allowedHosts'], path, problems),
    allowedOrigins: cors.flatMap(({ allowedOrigins }) =>
      listIn(allowedOrigins, `cors.allowedOrigins of ${path}`, parseAnyOrigin, problems),
    ),
  }
  if (problems.length > 0) throw new ConfigError(problems)
  return lists
}

type Fields = Readonly<Record<string, unknown>>

function readFields(path: string): Fields {
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return {}
    throw new ConfigError([`${path} cannot be read (${codeOf(error)})`])
  }
  if (text.length > MAX_BYTES)
    throw new ConfigError([`${path} is larger than ${MAX_BYTES} bytes, which is no configuration`])
  const value = parsed(text)
  if (isObject(value)) return value
  throw new ConfigError([`${path} is not a JSON object; correct it, or remove it`])
}

/** @returns undefined for what is no JSON: the parser's message would quote the file */
function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function isObject(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function objectIn(fields: Fields, name: string, path: string, problems: string[]): Fields {
  const value = fields[name] ?? {}
  if (isObject(value)) return value
  problems.push(`"${name}" of ${path} is not an object`)
  return {}
}

function hostsIn(value: unknown, path: string, problems: string[]): readonly HostRule[] {
  if (value === true) return ['*']
  const listed = Array.isArray(value)
    ? value.filter((entry) => typeof entry !== 'string' || !ALWAYS_SERVED.has(entry.toLowerCase()))
    : value
  return listIn(listed, `daemon.allowedHosts of ${path}`, parseHostRule, problems)
}

function listIn<T>(
  value: unknown,
  name: string,
  parse: (text: string) => T,
  problems: string[],
): T[] {
  if (value === undefined || value === null) return []
  if (!Array.isArray(value) || value.length > MAX_ENTRIES) {
    problems.push(`${name} is not a list of at most ${MAX_ENTRIES} texts`)
    return []
  }
  return value.flatMap((entry) => {
    try {
      if (typeof entry !== 'string') throw new Error('an entry is no text')
      return [parse(entry)]
    } catch (error) {
      problems.push(`${name}: ${error instanceof Error ? error.message : String(error)}`)
      return []
    }
  })
}

function parseAnyOrigin(text: string): string {
  return APP_ORIGIN.test(text) ? text : parseOrigin(text)
}
