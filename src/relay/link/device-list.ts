/** Which devices may come? Those of this list. It outlives the link; every change is on the disk before anybody is told of it. */
import { join } from 'node:path'
import { isSubject } from '../../rules/subject.ts'
import { fromBase64Url, toBase64Url, type Bytes } from '../protocol/bytes.ts'
import { deviceId, deviceNameIn, type DeviceHello } from '../protocol/handshake.ts'
import { KEY_LENGTH } from '../protocol/noise.ts'
import { LinkFileError, readPrivateFile, replacePrivateFile } from './private-file.ts'

/** The name of the file in LINK_STATE_DIR. */
export const DEVICES_FILE = 'devices.json'

/** Devices that are listed at a time. */
export const MAX_DEVICES = 64

/** Devices of them that wait for approval. */
export const MAX_WAITING = 8

/** How long a device waits for approval before it is forgotten, in milliseconds: an hour. */
export const WAITING_MS = 3_600_000

/** A device. */
export interface Device {
  /** 22 characters, of its key. */
  readonly id: string
  /** Its static public key, 32 bytes. */
  readonly key: Bytes
  /** From which the places of each day follow, 32 bytes. */
  readonly placeSecret: Bytes
  readonly name: string
  readonly kind: DeviceHello['kind']
  /** The person whose session it gets. */
  readonly sub: string
  readonly state: 'approved' | 'waiting'
  /** Milliseconds since 1970, as are all times here. */
  readonly pairedAt: number
  /** Undefined before the first channel has ended. */
  readonly lastSeenAt: number | undefined
}

/** How often it is written when a device was seen, in milliseconds: an hour. */
const SEEN_MS = 3_600_000

const VERSION = 1
const MAX_BYTES = 256 * 1024
const UNNAMED = 'unnamed'
const KINDS = ['page', 'command'] as const
const STATES = ['approved', 'waiting'] as const

/** The list of devices. */
export class DeviceList {
  readonly #path: string
  readonly #devices: Map<string, Device>
  #seenWrittenAt: number
  #isSeenWritten = true

  private constructor(path: string, devices: readonly Device[], now: number) {
    this.#path = path
    this.#devices = new Map(devices.map((device) => [device.id, device]))
    this.#seenWrittenAt = now
  }

  /** Reads the list. @throws {LinkFileError} when it is damaged, or not private */
  static async open(folder: string, now: number): Promise<DeviceList> {
    const path = join(folder, DEVICES_FILE)
    const text = readPrivateFile(path, MAX_BYTES)
    return new DeviceList(path, text === undefined ? [] : await readDevices(text, path), now)
  }

  /** Every device, in the order in which they were paired. */
  all(): readonly Device[] {
    return [...this.#devices.values()]
  }

  get(id: string): Device | undefined {
    return this.#devices.get(id)
  }

  /** The ids of those that were approved. */
  approved(): readonly string[] {
    return this.all().flatMap(({ id, state }) => (state === 'approved' ? [id] : []))
  }

  /** Adds a device, or puts it in the place of the one with its key. @throws an error of the system, with nothing changed */
  put(device: Device): void {
    this.#write([...this.all().filter(({ id }) => id !== device.id), device])
    // Deleted first, so that one that was paired again is the newest.
    this.#devices.delete(device.id)
    this.#devices.set(device.id, device)
  }

  /** Changes a device that is listed, in its place. @throws an error of the system, with nothing changed */
  change(device: Device): void {
    this.#write(this.all().map((each) => (each.id === device.id ? device : each)))
    this.#devices.set(device.id, device)
  }

  /** Removes devices, in memory even when that cannot be written. @throws an error of the system */
  remove(ids: readonly string[]): void {
    for (const id of ids) this.#devices.delete(id)
    this.#write(this.all())
  }

  /** Notes that a device was there. It is written with the next change, or by {@link writeSeen}. */
  seen(id: string, now: number): void {
    const device = this.#devices.get(id)
    if (device === undefined) return
    this.#devices.set(id, { ...device, lastSeenAt: now })
    this.#isSeenWritten = false
  }

  /** Writes when devices were seen, once an hour at most. @param atOnce also before that @throws an error of the system */
  writeSeen(now: number, atOnce = false): void {
    if (this.#isSeenWritten || (!atOnce && now - this.#seenWrittenAt < SEEN_MS)) return
    this.#seenWrittenAt = now
    this.#write(this.all())
  }

  #write(devices: readonly Device[]): void {
    const lines = devices.map((device) => JSON.stringify(fieldsOf(device))).join(',\n')
    replacePrivateFile(this.#path, `{"version":${VERSION},"devices":[\n${lines}\n]}\n`)
    this.#isSeenWritten = true
  }
}

function fieldsOf(device: Device): object {
  const { id, key, placeSecret, pairedAt, lastSeenAt, ...rest } = device
  return {
    ...{ id, key: toBase64Url(key), placeSecret: toBase64Url(placeSecret), ...rest },
    pairedAt: new Date(pairedAt).toISOString(),
    lastSeenAt: lastSeenAt === undefined ? null : new Date(lastSeenAt).toISOString(),
  }
}

async function readDevices(text: string, path: string): Promise<Device[]> {
  const damaged = (why: string): LinkFileError =>
    new LinkFileError(
      `${path} cannot be used: ${why}; restore it from a backup, or remove it and pair every device again`,
    )
  let list: { version?: unknown; devices?: unknown }
  try {
    list = { ...(JSON.parse(text) as object) }
  } catch {
    throw damaged('it is damaged') // without the parser's message, which quotes the file
  }
  if (typeof list.version === 'number' && list.version !== VERSION)
    throw damaged('it is of another version of this program')
  if (list.version !== VERSION || !Array.isArray(list.devices) || list.devices.length > MAX_DEVICES)
    throw damaged('it is damaged')
  const devices = await Promise.all(list.devices.map((fields) => readDevice({ ...fields })))
  const known = devices.filter((device) => device !== undefined)
  if (new Set(known.map(({ id }) => id)).size !== devices.length) throw damaged('it is damaged')
  return known
}

async function readDevice(fields: Readonly<Record<string, unknown>>): Promise<Device | undefined> {
  const [key, placeSecret] = [bytesIn(fields['key']), bytesIn(fields['placeSecret'])]
  const [pairedAt, lastSeenAt] = [timeIn(fields['pairedAt']), timeIn(fields['lastSeenAt'])]
  const kind = KINDS.find((each) => each === fields['kind'])
  const state = STATES.find((each) => each === fields['state'])
  const { id, name, sub, lastSeenAt: seenText } = fields
  if (key === undefined || placeSecret === undefined || pairedAt === undefined) return undefined
  if (kind === undefined || state === undefined || !isSubject(sub) || typeof name !== 'string')
    return undefined
  if (!/^\P{Cc}+$/u.test(name) || (seenText !== null && lastSeenAt === undefined)) return undefined
  if (id !== (await deviceId(key))) return undefined
  // The rule for names was another one before: nobody has to pair again for that.
  const shown = deviceNameIn(name) ?? UNNAMED
  return { id, key, placeSecret, name: shown, kind, sub, state, pairedAt, lastSeenAt }
}

function bytesIn(value: unknown): Bytes | undefined {
  const bytes = typeof value === 'string' ? fromBase64Url(value) : undefined
  return bytes?.length === KEY_LENGTH ? bytes : undefined
}

function timeIn(value: unknown): number | undefined {
  const time = typeof value === 'string' ? Date.parse(value) : Number.NaN
  return Number.isNaN(time) ? undefined : time
}
