/** How does a test get two ends of a channel without a relay and a handshake? From keys that it makes up. */
import { concat, randomBytes, u16, u32, type Bytes } from '../../src/relay/protocol/bytes.ts'
import {
  Channel,
  type ChannelClock,
  type ChannelEnd,
  type FrameLink,
} from '../../src/relay/protocol/channel.ts'
import type { Met } from '../../src/relay/protocol/handshake.ts'
import { CipherState } from '../../src/relay/protocol/noise.ts'
import {
  RECORD,
  recordSize,
  type ChannelRecord,
  type ChannelSide,
} from '../../src/relay/protocol/records.ts'
import { within } from './waiting.ts'

/** One end of a channel, and what has come out of it. */
export interface End {
  readonly channel: Channel
  /** What reached the listener. */
  readonly heard: ChannelRecord[]
  /** How often it has ended, and how. */
  readonly ends: ChannelEnd[]
  /** The lengths of what it has sent, in bytes. */
  readonly sizes: number[]
  /** Resolves when the channel has ended. */
  readonly over: Promise<ChannelEnd>
}

/** What a test changes of an end. */
export interface EndOptions {
  readonly clock?: ChannelClock
  readonly recordsPerKey?: number
  readonly link?: Partial<FrameLink>
  readonly onRecord?: (record: ChannelRecord) => void
}

/** Both ends of a channel, joined. The device has not been heard yet: see {@link proven}. */
export async function channelPair(
  options: { readonly device?: EndOptions; readonly daemon?: EndOptions } = {},
): Promise<{ readonly device: End; readonly daemon: End }> {
  const metOf = metMaker()
  const ends: { device?: End; daemon?: End } = {}
  ends.daemon = newEnd('daemon', await metOf(), () => ends.device?.channel, options.daemon)
  ends.device = newEnd('device', await metOf(), () => ends.daemon?.channel, options.device)
  return { device: ends.device, daemon: ends.daemon }
}

/** Waits until the daemon has heard of the device. */
export async function proven({ channel, over }: End): Promise<void> {
  while (!channel.isProven)
    if (await within(1, over)) throw new Error('it has ended before it was proven')
}

const NOTHING = new Uint8Array(0)

/** A channel's end whose other party is the test: it holds the keys, and says what no honest party would. */
export async function rogue(
  side: ChannelSide,
  options: EndOptions = {},
): Promise<{
  readonly end: End
  /** Sends a record, padded as it should be or as said. Its time is that of the end's clock, or as said. */
  readonly say: (
    type: number,
    body?: Uint8Array,
    not?: { readonly padding?: Uint8Array; readonly sentMs?: number },
  ) => Promise<void>
  /** Sends what stands in a record. */
  readonly sayPlain: (plain: Bytes) => Promise<void>
  /** The records that the end has sent. */
  readonly answers: () => Promise<Bytes[]>
}> {
  const metOf = metMaker()
  const { fromInitiator, fromResponder } = await metOf()
  const [ours, theirs] =
    side === 'daemon' ? [fromInitiator, fromResponder] : [fromResponder, fromInitiator]
  const sent: Bytes[] = []
  const end = newEnd(side, await metOf(), () => undefined, {
    ...options,
    link: { send: (frame) => void sent.push(frame), ...options.link },
  })
  let before = Promise.resolve()
  const sayPlain = (plain: Bytes): Promise<void> => {
    // One after the other: two that are encrypted at once may be done in any order.
    const after = before.then(async () => end.channel.receive(await ours.encrypt(plain)))
    before = after
    return after
  }
  const { clock = { now: () => performance.now() } } = options
  const startedAt = clock.now()
  const say: Awaited<ReturnType<typeof rogue>>['say'] = async (type, body = NOTHING, not = {}) => {
    const length = recordSize(body.length) - 16 - 7 - body.length
    const { padding = new Uint8Array(length), sentMs = clock.now() - startedAt } = not
    await sayPlain(concat(Uint8Array.of(type), u16(body.length), u32(sentMs), body, padding))
  }
  const answers = async (): Promise<Bytes[]> => {
    const plain: Bytes[] = []
    for (const frame of sent.splice(0)) plain.push(await theirs.decrypt(frame))
    return plain
  }
  return { end, say, sayPlain, answers }
}

/** A daemon whose device is the test, and has said that it is ready. */
export async function rogueDevice(options: EndOptions = {}): ReturnType<typeof rogue> {
  const device = await rogue('daemon', options)
  await device.say(RECORD.ready)
  await proven(device.end)
  return device
}

/** Each party's keys of one handshake that was never made. */
function metMaker(): () => Promise<Met> {
  const [up, down] = [randomBytes(32), randomBytes(32)]
  const common = {
    handshakeHash: randomBytes(32),
    extraSecret: randomBytes(32),
    theirKey: randomBytes(32),
  }
  return async () => ({
    ...common,
    fromInitiator: await CipherState.of(up),
    fromResponder: await CipherState.of(down),
  })
}

function newEnd(
  side: ChannelSide,
  met: Met,
  other: () => Channel | undefined,
  { clock, recordsPerKey, link, onRecord }: EndOptions = {},
): End {
  const { promise: over, resolve } = Promise.withResolvers<ChannelEnd>()
  const [heard, ends, sizes]: [ChannelRecord[], ChannelEnd[], number[]] = [[], [], []]
  const channel = new Channel({
    ...{ side, met },
    ...(clock === undefined ? {} : { clock }),
    ...(recordsPerKey === undefined ? {} : { recordsPerKey }),
    link: {
      send: (frame) => {
        sizes.push(frame.length)
        other()?.receive(frame)
      },
      close: () => other()?.linkClosed(),
      ...link,
    },
    events: {
      onRecord: (record) => {
        heard.push(record)
        onRecord?.(record)
      },
      onEnd: (end) => {
        ends.push(end)
        resolve(end)
      },
    },
  })
  return { channel, heard, ends, sizes, over }
}
