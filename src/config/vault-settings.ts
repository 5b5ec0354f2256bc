/** Which settings does the vault have? Those in VAULT_SETTINGS, each declared once. */
import {
  closeSync,
  fstatSync,
  readdirSync,
  readFileSync,
  readSync,
  statSync,
  type Stats,
} from 'node:fs'
import { join } from 'node:path'
import { codeOf } from '../answers/errors.ts'
import { oneOf, optional, withDefault, wholeNumber } from './setting.ts'
import { ConfigError, type Environment } from './load.ts'
import { nearestName } from './nearest.ts'
import {
  readProgramSettings,
  unknownVariables,
  type ProgramSettings,
  type ValuesOf,
} from './program-settings.ts'
import { MAX_SOCKET_PATH_BYTES, parseAbsolutePath } from './values.ts'
import { OWNER_NAME, parseAgents, parseMasterKey, type Agent } from './vault-values.ts'

/** How the names of the vault's settings begin. */
export const VAULT_PREFIX = 'VAULT_'

/** The declarations of the vault's settings, by their names in the code. */
export const VAULT_SETTINGS = {
  file: withDefault('/data/vault/.vault.enc', {
    env: 'VAULT_FILE',
    description:
      'The sealed file with the entries and their credentials. Its folder is made with mode 700.',
    accepts: 'an absolute path',
    parse: parseAbsolutePath,
  }),
  sockets: withDefault('/run/workspace/vault', {
    env: 'VAULT_SOCKETS',
    description:
      'The folder of the doors: owner/owner.sock for the owner, and a folder with agent.sock for each agent.',
    accepts: 'an absolute path',
    parse: parseAbsolutePath,
  }),
  agents: withDefault('', {
    env: 'VAULT_AGENTS',
    description:
      'The agents that have a door, each with the uid that it runs under. Agents under one uid are one identity.',
    accepts: 'a list of names and uids, such as coder:1001,ops:1002',
    parse: parseAgents,
  }),
  port: optional({
    env: 'VAULT_PORT',
    description:
      'The loopback port where requests with a lease are taken from tools that cannot speak to a Unix socket. None is opened unless it is set.',
    ...wholeNumber(0, 65_535),
  }),
  masterKey: optional({
    env: 'VAULT_MASTER_KEY',
    description:
      'The key of the vault. It must be given in one of three ways: here, in a file, or on a file descriptor (VAULT_MASTER_KEY_FD), which is the best one.',
    accepts: '32 random bytes in base64 or hex',
    secret: true,
    parse: parseMasterKey,
  }),
  masterKeyFd: optional({
    env: 'VAULT_MASTER_KEY_FD',
    description:
      'The number of an inherited file descriptor from which the key of the vault is read, once, at the start.',
    ...wholeNumber(3, 1023),
  }),
  stateDir: withDefault('/data/vault', {
    env: 'VAULT_STATE_DIR',
    description: 'The folder of the audit log vault-audit.jsonl. It is made with mode 700.',
    accepts: 'an absolute path',
    parse: parseAbsolutePath,
  }),
  extraCaFile: optional({
    env: 'VAULT_EXTRA_CA_FILE',
    description:
      'A file with certificates (PEM) that are trusted besides those that Node has, for services with certificates of their own.',
    accepts: 'an absolute path',
    parse: parseAbsolutePath,
  }),
  logLevel: withDefault('info', {
    env: 'VAULT_LOG_LEVEL',
    description: 'The least severe log line that is written.',
    ...oneOf('trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'),
  }),
} as const satisfies ProgramSettings

type Values = ValuesOf<typeof VAULT_SETTINGS>

/** The values of the vault's settings, with the key from whichever of its three ways was used. */
export type VaultConfig = Omit<Values, 'masterKey' | 'masterKeyFd'> & { readonly masterKey: Buffer }

/** What was configured, and what is legal but unwise: one line each. */
export interface LoadedVault {
  readonly config: VaultConfig
  readonly warnings: readonly string[]
}

const NAMES: readonly string[] = Object.values(VAULT_SETTINGS).flatMap(({ env, secret }) =>
  secret ? [env, `${env}_FILE`] : [env],
)

const KEY_WAYS = [
  'VAULT_MASTER_KEY_FD',
  'VAULT_MASTER_KEY_FILE',
  'VAULT_MASTER_KEY',
] as const satisfies readonly string[]

/** A text that is longer than this is no key (bytes). */
const MAX_KEY_TEXT_BYTES = 1024

/**
 * Reads and checks the vault's settings. The key's descriptor is read whole and closed, also when another setting is wrong.
 * An unknown `VAULT_` name is a warning, because other programs use such names (`VAULT_ADDR`).
 * @throws {ConfigError} with every problem
 */
export function loadVaultConfig(env: Environment): LoadedVault {
  const { values, problems: wrong } = readProgramSettings(VAULT_SETTINGS, env)
  const problems = [...wrong, ...refusedVariables(env), ...keyWayProblems(env)]
  const { masterKeyFd, masterKey: written, ...rest } = values
  let masterKey = written
  if (masterKeyFd !== undefined) {
    try {
      masterKey = parseMasterKey(readDescriptor(masterKeyFd))
    } catch (error) {
      const what = error instanceof Error ? error.message : 'cannot be read'
      problems.push(
        `VAULT_MASTER_KEY_FD ${masterKeyFd} ${what}; it takes ${KEY_ACCEPTS}, given with ${masterKeyFd}<FILE`,
      )
    }
  }
  problems.push(...pathProblems(values))
  if (problems.length > 0) throw new ConfigError(problems)
  const config = Object.freeze({ ...rest, masterKey } as VaultConfig)
  const warnings = unknownVariables(VAULT_PREFIX, NAMES, env)
  return { config, warnings: [...warnings, ...keyFileWarnings(env), ...agentWarnings(config)] }
}

/** The setting of the vault that is nearest to a misspelt name; undefined when none is near. */
export function nearestVaultVariable(name: string): string | undefined {
  return nearestName(name, NAMES, 3)
}

const KEY_ACCEPTS = VAULT_SETTINGS.masterKey.accepts

/** The key must come in exactly one way, because nobody could tell which of two is in force. */
function keyWayProblems(env: Environment): string[] {
  const given = KEY_WAYS.filter((name) => env[name] !== undefined)
  if (given.length === 1) return []
  if (given.length === 0)
    return [
      `VAULT_MASTER_KEY_FD (or VAULT_MASTER_KEY_FILE, or VAULT_MASTER_KEY) is not set; give the key that the vault's file was made with, or for a new vault ${KEY_ACCEPTS}, which "openssl rand -base64 32" makes`,
    ]
  // Reading the settings has reported this pair already.
  if (given.length === 2 && !given.includes('VAULT_MASTER_KEY_FD')) return []
  return [`${given.join(' and ')} are set; keep one, the first is the best`]
}

/** Reads a descriptor to its end and closes it, so that no child inherits the key. */
function readDescriptor(fd: number): string {
  if (isOwn(fd)) throw new Error('is no file or pipe that was given to the program')
  const bytes = Buffer.alloc(MAX_KEY_TEXT_BYTES + 1)
  try {
    const length = fill(fd, bytes)
    if (length > MAX_KEY_TEXT_BYTES) throw new Error('has more than a key')
    return bytes.toString('latin1', 0, length).replace(/(?:\r?\n)+$/, '')
  } finally {
    bytes.fill(0)
    close(fd)
  }
}

/**
 * Whether Node itself opened a descriptor, whose number a forgotten `9<FILE` would then mean. Reading one can wait for ever, and closing
 * one aborts the process. Node's own are event queues, which have no file type, and pipes whose writing end is in this process too.
 */
function isOwn(fd: number): boolean {
  const stat = statOf(fd)
  if (stat === undefined || stat.isFile() || stat.isSocket()) return false // one that is not open is reported by reading it
  if (!stat.isFIFO()) return true
  return readdirSync('/dev/fd').some((name) => {
    const other = statOf(Number(name))
    return other?.ino === stat.ino && other.dev === stat.dev && isWritable(Number(name))
  })
}

function statOf(fd: number): Stats | undefined {
  try {
    return fstatSync(fd)
  } catch {
    return undefined
  }
}

/** Whether a descriptor is open for writing; false where the system does not tell. */
function isWritable(fd: number): boolean {
  try {
    const flags = /^flags:\s*([0-7]+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'latin1'))
    return (Number.parseInt(flags?.[1] ?? '0', 8) & 3) !== 0 // O_WRONLY or O_RDWR
  } catch {
    return false
  }
}

function fill(fd: number, bytes: Buffer): number {
  let length = 0
  try {
    while (length < bytes.length) {
      const count = readSync(fd, bytes, length, bytes.length - length, null)
      if (count === 0) break
      length += count
    }
  } catch (error) {
    throw new Error(`cannot be read (${codeOf(error)})`, { cause: error })
  }
  return length
}

function close(fd: number): void {
  try {
    closeSync(fd)
  } catch {
    // It was not open, which the reading has reported.
  }
}

/** Variables that change whom Node trusts or what it runs, each with what to do instead. */
const REFUSED: ReadonlyArray<readonly [name: RegExp, remedy: string]> = [
  [/^NODE_EXTRA_CA_CERTS$/, 'name the file in VAULT_EXTRA_CA_FILE instead'],
  [/^NODE_OPTIONS$/, 'unset it, because its options can weaken the vault'],
  [/^NODE_USE_ENV_PROXY$/, 'unset it, because the vault speaks to services itself'],
  [/^(?:http|https|all)_proxy$/i, 'unset it, because the vault speaks to services itself'],
]

function refusedVariables(env: Environment): string[] {
  const refused = Object.keys(env).flatMap((name) => {
    if (env[name] === undefined || env[name] === '') return []
    const row = REFUSED.find(([pattern]) => pattern.test(name))
    return row === undefined
      ? []
      : [`${name} is set, and the vault does not start with it; ${row[1]}`]
  })
  if (env['NODE_TLS_REJECT_UNAUTHORIZED'] === '0')
    refused.push(
      'NODE_TLS_REJECT_UNAUTHORIZED is 0, which accepts every certificate, and the vault does not start with it; unset it',
    )
  return refused
}

/** A longer path would be cut by the kernel, and name another file. */
function pathProblems({ sockets, agents = [] }: Partial<Values>): string[] {
  if (sockets === undefined) return []
  const paths = [
    join(sockets, OWNER_NAME, 'workspaces.sock'),
    ...agents.map(({ name }) => join(sockets, name, 'agent.sock')),
  ]
  const long = paths.find((path) => Buffer.byteLength(path) > MAX_SOCKET_PATH_BYTES)
  return long === undefined
    ? []
    : [
        `VAULT_SOCKETS makes the path "${long}", which is longer than the ${MAX_SOCKET_PATH_BYTES} bytes of a Unix socket's path`,
      ]
}

/** Whoever reads the key's file and the sealed file has every credential. */
function keyFileWarnings({ VAULT_MASTER_KEY_FILE: path }: Environment): string[] {
  const mode = path === undefined ? 0 : (statSync(path, { throwIfNoEntry: false })?.mode ?? 0)
  return (mode & 0o077) === 0
    ? []
    : [
        `VAULT_MASTER_KEY_FILE "${path}" is open to others (mode ${(mode & 0o777).toString(8)}), and so to agents; run "chmod 600" on it`,
      ]
}

function agentWarnings({ agents }: VaultConfig): string[] {
  const own = process.getuid?.()
  const shared = agents.filter(({ uid }, i) => agents.findIndex((one) => one.uid === uid) !== i)
  return [
    ...agents
      .filter(({ uid }) => uid === own || uid === 0)
      .map((agent) => `VAULT_AGENTS: ${readsEverything(agent)}; give it a user of its own`),
    ...shared.map((agent) => `VAULT_AGENTS: ${sharesUid(agent)}`),
  ]
}

/** What is said of an agent that is root, or the vault's own user. */
export function readsEverything({ name, uid }: Agent): string {
  return `${name} has the uid ${uid}, which can read everything that the vault can`
}

/** What is said of an agent whose user another agent has too. */
export function sharesUid({ name, uid }: Agent): string {
  return `${name} shares the uid ${uid} with another agent; to the machine they are one, and each can use the other's door`
}
