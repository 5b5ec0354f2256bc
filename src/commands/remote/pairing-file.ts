/** Where does `remote` keep what it was paired with? In one file of the user's own, which nobody else can read. */
import { rmSync, statSync, type Stats } from 'node:fs'
import { dirname, join } from 'node:path'
import { codeOf } from '../../answers/errors.ts'
import type { Environment } from '../../config/load.ts'
import { parseRelayUrl } from '../../config/values.ts'
import { EXIT } from '../../process/exit-codes.ts'
import type { PairedDevice } from '../../relay/client/paired-device.ts'
import { fromBase64Url, toBase64Url, type Bytes } from '../../relay/protocol/bytes.ts'
import { deviceId, deviceNameIn } from '../../relay/protocol/handshake.ts'
import { parseAuthority } from '../../rules/host.ts'
import { makeFolder } from '../../store/make-folder.ts'
import { readWholeFile, writeWholeFile } from '../../store/whole-file.ts'
import { CommandError } from '../owner.ts'

/** The version of the file's form. */
const VERSION = 1

/** A file of this kind is shorter, in bytes. */
const MAX_BYTES = 8192

/** Permission bits of group and others. */
const OTHERS = 0o077
const WRITABLE_BY_OTHERS = 0o022

const KEY_LENGTH = 32

/**
 * The path of the file: in $XDG_CONFIG_HOME, else in ~/.config (XDG Base Directory Specification 0.8).
 * @throws {CommandError} 78 when there is neither
 */
export function pairingFile(env: Environment): string {
  const { XDG_CONFIG_HOME: config, HOME: home } = env
  // The specification: a relative path is invalid, and ignored.
  const folder = config?.startsWith('/') === true ? config : inHome(home)
  return join(folder, 'workspace-gateway', 'remote.json')
}

function inHome(home: string | undefined): string {
  if (home?.startsWith('/') === true) return join(home, '.config')
  throw new CommandError(
    'there is no folder for the pairing; set HOME or XDG_CONFIG_HOME to an absolute path',
    EXIT.config,
  )
}

/** Reads the pairing; undefined when there is none. @throws {CommandError} 78 for a file that cannot be trusted, or read */
export async function readPairing(file: string): Promise<PairedDevice | undefined> {
  let text: string
  try {
    text = readWholeFile(file, MAX_BYTES, (stats) => refuseUnlessPrivate(file, stats))
  } catch (error) {
    if (codeOf(error) === 'ENOENT' || codeOf(error) === 'ENOTDIR') return undefined
    throw error instanceof CommandError ? error : unusable(file, error)
  }
  try {
    return await pairingIn(text)
  } catch (error) {
    throw unusable(file, error)
  }
}

/** Makes sure that a pairing could be written, before a link is used up for it. @throws {CommandError} 78 */
export function prepareFolder(file: string): void {
  const folder = dirname(file)
  try {
    makeFolder(folder, 0o700)
    const { mode, uid } = statSync(folder)
    const own = process.geteuid?.() ?? uid
    if (uid !== own || (mode & WRITABLE_BY_OTHERS) !== 0)
      throw new Error(`others can write to ${folder}; run "chmod 700" on it as its owner`)
    const probe = `${file}.probe`
    writeWholeFile(probe, '')
    rmSync(probe)
  } catch (error) {
    throw unusable(file, error)
  }
}

/** Writes the pairing, on the disk when this returns. @throws {CommandError} 78 */
export async function writePairing(
  file: string,
  device: PairedDevice,
  privateKey: Bytes,
): Promise<void> {
  const { daemonKey, own, placeSecret, relay, host, target, name, clockOffset } = device
  const text = JSON.stringify({
    ...{ version: VERSION, relay, host, target, name },
    daemonKey: toBase64Url(daemonKey),
    publicKey: toBase64Url(own.publicKey),
    privateKey: toBase64Url(privateKey),
    placeSecret: toBase64Url(placeSecret),
    clockOffset, // left out where it is undefined
  })
  try {
    writeWholeFile(file, `${text}\n`, { durable: true })
  } catch (error) {
    throw unusable(file, error)
  }
}

/** Deletes the pairing. @returns whether there was one @throws {CommandError} 78 */
export function deletePairing(file: string): boolean {
  try {
    rmSync(file)
    return true
  } catch (error) {
    if (codeOf(error) === 'ENOENT' || codeOf(error) === 'ENOTDIR') return false
    throw unusable(file, error)
  }
}

async function pairingIn(text: string): Promise<PairedDevice> {
  const fields = fieldsOf(text)
  if (fields['version'] !== VERSION) throw new Error('it is of another version of this program')
  const { target } = fields
  const [relay, host] = [textIn(fields, 'relay'), textIn(fields, 'host')]
  const name = deviceNameIn(textIn(fields, 'name')) // the rule for names was another one before
  if (target !== 'gateway' && target !== 'service') throw new Error('its target is not known')
  if (parseAuthority(host) === undefined) throw new Error('its host is none')
  if (name === undefined) throw new Error('its name is none')
  const publicKey = bytesIn(fields, 'publicKey', KEY_LENGTH)
  const privateKey = await crypto.subtle.importKey(
    ...([
      'pkcs8',
      bytesIn(fields, 'privateKey'),
      { name: 'X25519' },
      false,
      ['deriveBits'],
    ] as const),
  )
  return {
    daemonKey: bytesIn(fields, 'daemonKey', KEY_LENGTH),
    own: { privateKey, publicKey },
    placeSecret: bytesIn(fields, 'placeSecret', KEY_LENGTH),
    ...{ relay: parseRelayUrl(relay), host, target, kind: 'command', name },
    ...clockOffsetIn(fields),
    id: await deviceId(publicKey),
  }
}

function fieldsOf(text: string): Readonly<Record<string, unknown>> {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    // The parser's message would quote the file, which has a private key.
    throw new Error('it is not JSON')
  }
  if (typeof value !== 'object' || value === null) throw new Error('it is not a JSON object')
  return { ...value }
}

function textIn(fields: Readonly<Record<string, unknown>>, name: string): string {
  const value = fields[name]
  if (typeof value !== 'string') throw new Error(`its field ${name} is missing`)
  return value
}

/** The correction of the clock, in milliseconds; nothing in most files. */
function clockOffsetIn({
  clockOffset,
}: Readonly<Record<string, unknown>>): Pick<PairedDevice, 'clockOffset'> {
  if (clockOffset === undefined) return {}
  if (typeof clockOffset !== 'number' || !Number.isSafeInteger(clockOffset))
    throw new Error('its field clockOffset is damaged')
  return { clockOffset }
}

function bytesIn(fields: Readonly<Record<string, unknown>>, name: string, length?: number): Bytes {
  const bytes = fromBase64Url(textIn(fields, name))
  if (bytes === undefined || (length !== undefined && bytes.length !== length))
    throw new Error(`its field ${name} is damaged`)
  return bytes
}

function refuseUnlessPrivate(file: string, { mode, uid }: Stats): void {
  const own = process.geteuid?.() ?? uid
  if (uid !== own)
    throw new CommandError(`${file} belongs to another user; run this as its owner`, EXIT.config)
  if ((mode & OTHERS) !== 0)
    throw new CommandError(
      `${file} can be read by others, who could come in as this device: have it removed (workspace-gateway devices revoke), then "workspace-gateway remote forget" and pair again; or run "chmod 600" on it if nobody else has used this machine`,
      EXIT.config,
    )
}

function unusable(file: string, error: unknown): CommandError {
  const why = error instanceof Error ? error.message : String(error)
  return new CommandError(
    `${file} cannot be used: ${why}; "workspace-gateway remote forget" deletes it, then pair again`,
    EXIT.config,
    { cause: error },
  )
}
