/** How does a test use the relay? A real one on a free port, and daemons and devices that speak its wire by hand. */
import { once } from 'node:events'
import type { Test } from 'tap'
import { WebSocket, type ClientOptions, type RawData } from 'ws'
import { loadRelayConfig } from '../../src/config/relay-settings.ts'
import { openLog } from '../../src/observe/log.ts'
import { randomBytes, toBase64Url, type Bytes } from '../../src/relay/protocol/bytes.ts'
import { PLACE_KEY_LENGTH, placeId } from '../../src/relay/protocol/places.ts'
import {
  CONTROL_PATH,
  decodeRelayMessage,
  DEVICE_PREFIX,
  encodeDaemonMessage,
  SEAT_PREFIX,
  type DaemonMessage,
  type RelayMessage,
} from '../../src/relay/protocol/relay-wire.ts'
import {
  startRelay,
  type RelaySurroundings,
  type RunningRelay,
} from '../../src/relay/server/server.ts'
import { Arrivals } from './waiting.ts'

/** A relay, and the lines that it has logged. */
export interface TestRelay extends RunningRelay {
  readonly log: () => string
}

/** Starts a relay on a free port of 127.0.0.1. It is closed when the test ends. */
export async function relayFor(
  t: Test,
  env: Record<string, string> = {},
  surroundings: RelaySurroundings = {},
): Promise<TestRelay> {
  let lines = ''
  const { logger } = openLog('trace', { write: (line) => void (lines += line) })
  const config = loadRelayConfig({ RELAY_HOST: '127.0.0.1', RELAY_PORT: '0', ...env })
  const relay = await startRelay(config, logger, surroundings)
  t.teardown(() => relay.close())
  return Object.assign(relay, { log: () => lines })
}

/** A clock that stands still, and the timers of a relay, which run when the test says so. */
export class HandClock {
  ms = 1000
  readonly #acts = new Set<() => void>()

  readonly surroundings: RelaySurroundings = {
    now: () => this.ms,
    every: (_ms, act) => {
      this.#acts.add(act)
      return () => void this.#acts.delete(act)
    },
  }

  /** Lets time pass, and then every timer run once. */
  pass(ms: number): void {
    this.ms += ms
    for (const act of this.#acts) act()
  }
}

/** A WebSocket of a test, which keeps what it hears. */
export class Peer {
  readonly socket: WebSocket
  readonly heard: Buffer[] = []
  /** How it was closed: the code, and the reason. */
  readonly closed: Promise<readonly [code: number, reason: string]>
  readonly #arrivals = new Arrivals()

  constructor(url: string, options: ClientOptions = {}) {
    this.socket = new WebSocket(url, { perMessageDeflate: false, ...options })
    this.socket.on('error', () => {})
    this.socket.on('message', (data: RawData) => {
      this.heard.push(data as Buffer)
      this.#arrivals.wake()
    })
    this.closed = new Promise((resolve) => {
      this.socket.once('close', (code, reason) => resolve([code, String(reason)]))
    })
  }

  /** Waits until the connection is open. */
  async open(): Promise<this> {
    await once(this.socket, 'open')
    return this
  }

  /** The next message that was not yet taken. */
  next(): Promise<Buffer> {
    return this.#arrivals.until(() => this.heard.shift())
  }

  send(data: Uint8Array | string): void {
    this.socket.send(data)
  }
}

/** The control connection of a daemon. */
export class Daemon extends Peer {
  constructor(url: string, options: ClientOptions = {}) {
    super(url + CONTROL_PATH, options)
  }

  say(message: DaemonMessage): void {
    this.send(encodeDaemonMessage(message))
  }

  async hears(): Promise<RelayMessage> {
    const message = decodeRelayMessage(Uint8Array.from(await this.next()))
    if (message === undefined) throw new Error('no message of a relay')
    return message
  }

  /** Waits for a knock. @returns the path of the seat */
  async knocked(): Promise<string> {
    const message = await this.hears()
    if (message.kind !== 'knock') throw new Error(`a knock was expected, not ${message.kind}`)
    return `${SEAT_PREFIX}${toBase64Url(message.place)}/${toBase64Url(message.ticket)}`
  }

  /** Sits at one place, and waits for the answer. @returns what the relay answered */
  async sit(...keys: readonly Bytes[]): Promise<RelayMessage> {
    this.say({ kind: 'sit', keys })
    return this.hears()
  }
}

/** A place with a new key: the key, the id, and the path at which devices come. */
export async function newPlace(): Promise<{ key: Bytes; id: Bytes; path: string }> {
  const key = randomBytes(PLACE_KEY_LENGTH)
  const id = await placeId(key)
  return { key, id, path: DEVICE_PREFIX + toBase64Url(id) }
}

/** A daemon that sits at a new place. */
export async function seatedDaemon(url: string, options: ClientOptions = {}) {
  const daemon = await new Daemon(url, options).open()
  const place = await newPlace()
  await daemon.sit(place.key)
  return { daemon, ...place }
}

/** A device and the daemon's connection for it, in one room. */
export async function roomAt(url: string, daemon: Daemon, path: string) {
  const device = await new Peer(url + path).open()
  const seat = await new Peer(url + (await daemon.knocked())).open()
  return { device, seat }
}
