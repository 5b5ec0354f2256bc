/**
 * What can a relay do to a device and a daemon? Everything that it does to messages: this one, in memory, hands each message to a function,
 * which says what is delivered in its place. Handshake and channel of both parties are the real ones.
 */
import { randomBytes, type Bytes } from '../../src/relay/protocol/bytes.ts'
import {
  Channel,
  type ChannelClock,
  type ChannelEnd,
  type FrameLink,
} from '../../src/relay/protocol/channel.ts'
import {
  beginHandshake,
  readHandshake,
  type Met,
  type Purpose,
} from '../../src/relay/protocol/handshake.ts'
import { generateKeyPair, type NoiseKeyPair } from '../../src/relay/protocol/noise.ts'
import type { ChannelRecord, ChannelSide } from '../../src/relay/protocol/records.ts'
import { eventually, within } from './waiting.ts'

/** The direction of a message: up from the device to the daemon, or down. */
export type Way = 'up' | 'down'

/** A message that a relay passes. */
export interface Passing {
  readonly way: Way
  /** 0 for the message of the handshake, from 1 for records. */
  readonly number: number
  readonly message: Bytes
}

/** What is delivered in place of a message: other messages, the other way where it is said. */
export type Malice = (
  passing: Passing,
  meeting: Meeting,
) => ReadonlyArray<Bytes | { readonly way: Way; readonly message: Bytes }>

/** A clock that stands still until a test moves it. */
export class ManualClock implements ChannelClock {
  #now = 0

  now(): number {
    return this.#now
  }

  move(ms: number): void {
    this.#now += ms
  }
}

/** One party, with all that has happened to it. */
export interface Party {
  readonly side: ChannelSide
  /** There once the handshake is over. */
  channel: Channel | undefined
  met: Met | undefined
  /** The records that reached the listener, in their order. */
  readonly heard: ChannelRecord[]
  /** Why the handshake has failed. */
  failure: unknown
  /** How the channel ended. */
  end: ChannelEnd | undefined
  /** Whether the relay has closed the connection, or the party itself. */
  isClosed: boolean
}

/** Who meets, and through what. */
export interface MeetingOptions {
  readonly malice?: Malice
  readonly device?: NoiseKeyPair
  readonly daemon?: NoiseKeyPair
  readonly purpose?: Purpose
  /** What the daemon believes that they meet for. Default: the same. */
  readonly daemonPurpose?: Purpose
  readonly clock?: ChannelClock
  /** Is called with each record that reaches a listener, and may throw. */
  readonly onRecord?: (party: Party, record: ChannelRecord) => void
  /** Whether one party's closing is kept from the other. */
  readonly isSilent?: boolean
}

type Known = MeetingOptions & Required<Pick<MeetingOptions, 'device' | 'daemon' | 'purpose'>>

/** A device, a daemon, and the relay between them. */
export class Meeting {
  readonly device = newParty('device')
  readonly daemon = newParty('daemon')
  /** Everything that the relay has seen. */
  readonly seen: Passing[] = []
  readonly #options: Known
  readonly #over = Promise.withResolvers<void>()
  readonly #counts = { up: 0, down: 0 }
  readonly #early: Record<ChannelSide, Bytes[]> = { device: [], daemon: [] }
  #finish: ((second: Bytes) => Promise<Met>) | undefined

  private constructor(options: Known) {
    this.#options = options
  }

  /** Lets both meet: the first message is on its way. */
  static async of(options: MeetingOptions = {}): Promise<Meeting> {
    const meeting = new Meeting({
      ...options,
      device: options.device ?? (await generateKeyPair()),
      daemon: options.daemon ?? (await generateKeyPair()),
      purpose: options.purpose ?? { kind: 'session', place: randomBytes(16) },
    })
    await meeting.#begin()
    return meeting
  }

  /** The same, once the device was proven. */
  static async open(options: MeetingOptions = {}): Promise<Meeting> {
    const meeting = await Meeting.of(options)
    await eventually(() => meeting.daemon.channel?.isOpen === true, 'both have met')
    return meeting
  }

  /** Whether nothing can happen any more. */
  get isOver(): boolean {
    return [this.device, this.daemon].every(
      ({ failure, end, channel, isClosed }) =>
        failure !== undefined || end !== undefined || (isClosed && channel === undefined),
    )
  }

  /** Waits until it is over for both. */
  async over(): Promise<void> {
    this.#parted()
    if (await within(30_000, this.#over.promise)) return
    throw new Error('waited in vain: device and daemon have parted')
  }

  /** Hands a message to a party, whoever made it. */
  deliver(way: Way, message: Bytes): void {
    const party = way === 'up' ? this.daemon : this.device
    if (party.isClosed) return
    if (party.channel !== undefined) {
      party.channel.receive(message)
      return
    }
    this.#early[party.side].push(message)
    if (this.#early[party.side].length === 1) void this.#meet(party, message)
  }

  /** Closes the connections of both, without a word. */
  cut(): void {
    for (const party of [this.device, this.daemon]) this.#closed(party)
  }

  async #begin(): Promise<void> {
    const { device, daemon, purpose } = this.#options
    const { first, finish } = await beginHandshake({
      purpose,
      own: device,
      daemonKey: daemon.publicKey,
      hello: { kind: 'page', name: 'Phone' },
    })
    this.#finish = finish
    this.#pass('up', first)
  }

  async #meet(party: Party, message: Bytes): Promise<void> {
    try {
      if (party.side === 'device') await this.#meetAsDevice(party, message)
      else await this.#meetAsDaemon(party, message)
    } catch (error) {
      party.failure = error
      this.#close(party)
    }
  }

  async #meetAsDevice(party: Party, second: Bytes): Promise<void> {
    const met = await this.#finish?.(second)
    if (met !== undefined) this.#start(party, met)
  }

  async #meetAsDaemon(party: Party, first: Bytes): Promise<void> {
    const { purpose, daemonPurpose = purpose, daemon: own } = this.#options
    const { answer } = await readHandshake({ purpose: daemonPurpose, own, first })
    const { second, met } = await answer()
    this.#start(party, met)
    this.#pass('down', second)
  }

  #start(party: Party, met: Met): void {
    const { clock, onRecord } = this.#options
    const link: FrameLink = {
      send: (frame) => this.#pass(party.side === 'device' ? 'up' : 'down', frame),
      close: () => this.#close(party),
    }
    party.met = met
    party.channel = new Channel({
      ...{ side: party.side, met, link },
      ...(clock === undefined ? {} : { clock }),
      events: {
        onRecord: (record) => {
          party.heard.push(record)
          onRecord?.(party, record)
        },
        onEnd: (end) => {
          party.end = end
          this.#parted()
        },
      },
    })
    const [, ...early] = this.#early[party.side]
    for (const frame of early) party.channel.receive(frame)
    if (party.isClosed) party.channel.linkClosed()
  }

  #pass(way: Way, message: Bytes): void {
    const passing = { way, number: this.#counts[way]++, message: message.slice() }
    this.seen.push(passing)
    const { malice } = this.#options
    for (const each of malice?.(passing, this) ?? [message]) {
      const other = each instanceof Uint8Array ? { way, message: each } : each
      this.deliver(other.way, other.message)
    }
  }

  #close(party: Party): void {
    this.#closed(party)
    if (this.#options.isSilent !== true)
      this.#closed(party.side === 'device' ? this.daemon : this.device)
  }

  #parted(): void {
    if (this.isOver) this.#over.resolve()
  }

  #closed(party: Party): void {
    if (party.isClosed) return
    party.isClosed = true
    party.channel?.linkClosed()
    this.#parted()
  }
}

function newParty(side: ChannelSide): Party {
  return {
    side,
    channel: undefined,
    met: undefined,
    heard: [],
    failure: undefined,
    end: undefined,
    isClosed: false,
  }
}
