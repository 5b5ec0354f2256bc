/** How does a test of a device have a workspace behind a relay? By a small daemon, made of the protocol alone. */
import { once } from 'node:events'
import { connect } from 'node:net'
import { WebSocket } from 'ws'
import { randomBytes, toBase64Url, type Bytes } from '../../src/relay/protocol/bytes.ts'
import { Channel, type ChannelEnd } from '../../src/relay/protocol/channel.ts'
import { comparisonCode, deviceId, readHandshake } from '../../src/relay/protocol/handshake.ts'
import { encodeMessage, type Note } from '../../src/relay/protocol/messages.ts'
import { generateKeyPair } from '../../src/relay/protocol/noise.ts'
import { OFFER_SECONDS, type Offer } from '../../src/relay/protocol/offer.ts'
import { dayOf, dayPlaceKey, placeId } from '../../src/relay/protocol/places.ts'
import { RECORD, type ChannelCloseReason } from '../../src/relay/protocol/records.ts'
import {
  CONTROL_PATH,
  decodeRelayMessage,
  encodeDaemonMessage,
  SEAT_PREFIX,
} from '../../src/relay/protocol/relay-wire.ts'
import { Streams, type Stream, type StreamEvents } from '../../src/relay/protocol/streams.ts'
import { Arrivals } from './waiting.ts'

/** A device's channel, on the daemon's side. */
interface DaemonChannel {
  readonly deviceId: string
  readonly name: string
  readonly code: string
  readonly end: ChannelEnd | undefined
  tell(note: Note): void
  close(reason: ChannelCloseReason): void
}

/** A daemon at a relay. */
export interface RelayDaemon {
  /** The channels, the newest last. */
  readonly channels: DaemonChannel[]
  /** How many streams were connected to the target. */
  streams: number
  /** What the next devices are to this daemon. */
  state: 'approved' | 'waiting'
  /** A new offer, which the daemon sits for. */
  offer(): Promise<Offer>
  /** Says by which address of the relay devices know it: that is part of an offer. */
  readsOffersAs(relay: string): void
  /** How many streams are open. */
  openStreams(): number
  /** Waits until so many channels were welcomed. */
  welcomed(count: number): Promise<DaemonChannel>
  close(): void
}

/** What a test wants to be otherwise. */
interface Options {
  /** The port on 127.0.0.1 that streams are connected to; or a function that takes them. */
  readonly target: number | ((stream: Stream) => StreamEvents)
  readonly kind?: 'gateway' | 'service'
  readonly now?: () => number
  /** What the daemon's channels take for the time, in milliseconds. Default: the clock of the machine. */
  readonly elapsed?: () => number
  readonly host?: string
}

type Place =
  | { readonly kind: 'offer'; offer: Offer }
  | { readonly kind: 'device'; readonly place: Bytes }

/** Starts a daemon at a relay. */
export async function startRelayDaemon(relay: string, options: Options): Promise<RelayDaemon> {
  const { target, kind = 'gateway', now = Date.now, host = 'localhost', elapsed } = options
  const own = await generateKeyPair()
  const places = new Map<string, Place>()
  const seats = new Set<WebSocket>()
  const all: Streams[] = []
  const arrivals = new Arrivals()
  let seated = 0
  const control = new WebSocket(`${relay}${CONTROL_PATH}`)
  control.on('error', () => {})
  await once(control, 'open')
  control.on('message', (data: Buffer) => {
    const message = decodeRelayMessage(Uint8Array.from(data))
    if (message?.kind === 'seated') {
      seated += message.places.length
      arrivals.wake()
    } else if (message?.kind === 'knock') void answer(message.place, message.ticket)
  })
  const daemon: RelayDaemon = {
    channels: [],
    streams: 0,
    state: 'approved',
    async offer() {
      const key = randomBytes(32)
      const offer = {
        ...{ version: 1, isApproved: true, daemonKey: own.publicKey, psk: randomBytes(32) },
        ...{ place: await placeId(key), relay },
        expiresAt: Math.floor(now() / 1000) + OFFER_SECONDS,
      }
      places.set(toBase64Url(offer.place), { kind: 'offer', offer })
      await sit([key])
      return offer
    },
    readsOffersAs(address) {
      for (const place of places.values())
        if (place.kind === 'offer') place.offer = { ...place.offer, relay: address }
    },
    openStreams: () => all.reduce((sum, { size }) => sum + size, 0),
    welcomed: (count) => arrivals.until(() => daemon.channels[count - 1]),
    close() {
      for (const seat of seats) seat.terminate()
      control.terminate()
    },
  }
  return daemon

  async function sit(keys: readonly Bytes[]): Promise<void> {
    const wanted = seated + keys.length
    control.send(encodeDaemonMessage({ kind: 'sit', keys }))
    await arrivals.until(() => (seated >= wanted ? true : undefined))
  }

  async function answer(id: Bytes, ticket: Bytes): Promise<void> {
    const place = places.get(toBase64Url(id))
    if (place === undefined) return
    const seat = new WebSocket(`${relay}${SEAT_PREFIX}${toBase64Url(id)}/${toBase64Url(ticket)}`)
    seats.add(seat)
    seat.on('error', () => {})
    const [first] = (await once(seat, 'message')) as [Buffer]
    const purpose =
      place.kind === 'offer'
        ? ({ kind: 'pair', offer: place.offer } as const)
        : ({ kind: 'session', place: place.place } as const)
    try {
      const {
        deviceKey,
        hello,
        answer: write,
      } = await readHandshake({
        ...{ purpose, own, first: Uint8Array.from(first) },
      })
      const device = await deviceId(deviceKey)
      const { second, met } = await write()
      seat.send(second)
      // In the same step, because what the device sends next is lost while nobody listens.
      serve(seat, { met, device, name: hello.name, isPairing: place.kind === 'offer' })
    } catch {
      seat.close()
    }
  }

  function serve(
    seat: WebSocket,
    about: {
      readonly met: Awaited<ReturnType<Awaited<ReturnType<typeof readHandshake>>['answer']>>['met']
      readonly device: string
      readonly name: string
      readonly isPairing: boolean
    },
  ): void {
    const { met, device, name, isPairing } = about
    let end: ChannelEnd | undefined
    const channel = new Channel({
      ...{ side: 'daemon', met },
      link: { send: (frame) => seat.send(frame), close: () => seat.close() },
      ...(elapsed === undefined ? {} : { clock: { now: elapsed } }),
      events: {
        onRecord(record) {
          if (record.type === RECORD.ready) void welcome()
          else streams.take(record)
        },
        onEnd(how) {
          end = how
          streams.closeAll()
          arrivals.wake()
        },
      },
    })
    const streams = new Streams(channel, (stream) => {
      daemon.streams++
      return typeof target === 'number' ? connectTo(target, stream) : target(stream)
    })
    all.push(streams)
    seat.on('message', (data: Buffer) => channel.receive(Uint8Array.from(data)))
    seat.on('close', () => channel.linkClosed())

    async function welcome(): Promise<void> {
      if (isPairing) await sitForDevice(met.extraSecret)
      const message = { device, state: daemon.state, host, target: kind }
      await channel.send(RECORD.welcome, encodeMessage(message))
      daemon.channels.push({
        ...{ deviceId: device, name, code: comparisonCode(met.handshakeHash) },
        get end() {
          return end
        },
        tell: (note) => void channel.send(RECORD.note, encodeMessage(note)),
        close: (reason) => channel.close(reason),
      })
      arrivals.wake()
    }
  }

  async function sitForDevice(secret: Bytes): Promise<void> {
    const today = dayOf(now())
    const keys = await Promise.all([-1, 0, 1].map((days) => dayPlaceKey(secret, today + days)))
    for (const key of keys) {
      const place = await placeId(key)
      places.set(toBase64Url(place), { kind: 'device', place })
    }
    await sit(keys)
  }
}

/** Passes a stream to a port and back, with the ends of each direction. */
function connectTo(port: number, stream: Stream): StreamEvents {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  socket.on('error', () => stream.reset())
  socket.on('data', (bytes: Buffer) => {
    socket.pause()
    void stream.write(Uint8Array.from(bytes)).then(() => socket.resume())
  })
  socket.on('end', () => stream.end())
  return {
    onData: (bytes) => void socket.write(bytes, () => stream.consumed(bytes.length)),
    onEnd: () => void socket.end(),
    onClose: () => socket.destroySoon(),
  }
}
