/** How does a test of a relay's client have a relay? By this one: it joins two WebSockets at a place, and can misbehave. */
import { once } from 'node:events'
import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type WebSocket, WebSocketServer } from 'ws'
import {
  fromBase64Url,
  randomBytes,
  toBase64Url,
  type Bytes,
} from '../../src/relay/protocol/bytes.ts'
import { placeId } from '../../src/relay/protocol/places.ts'
import {
  CONTROL_PATH,
  decodeDaemonMessage,
  DEVICE_PREFIX,
  encodeRelayMessage,
  RELAY_CLOSE,
  SEAT_PREFIX,
  TICKET_LENGTH,
} from '../../src/relay/protocol/relay-wire.ts'

/** A relay on a loopback port. */
export interface TinyRelay {
  /** `ws://127.0.0.1:port`. */
  readonly url: string
  /** How many devices have knocked. */
  knocks: number
  /** The id of the place at which a device has knocked last, in base64url. */
  lastPlace: string
  /** At how many places daemons sit. */
  readonly places: number
  /** Every frame that was passed, in both directions. */
  readonly frames: Bytes[]
  /** What devices are closed with, instead of being let in. */
  refuse: { readonly code: number; readonly reason: string } | undefined
  /** Changes a frame of the daemon on its way to a device; undefined drops it. */
  change: (frame: Bytes) => Bytes | undefined
  /** Cuts every joined connection, as a relay that falls over. */
  cut(): void
  close(): Promise<void>
}

const bytesOf = (data: unknown): Bytes => Uint8Array.from(data as Buffer)

/** Starts a relay. */
export async function startTinyRelay(): Promise<TinyRelay> {
  const server = createServer((_request, response) => response.writeHead(404).end())
  const sockets = new WebSocketServer({ server, perMessageDeflate: false })
  const daemons = new Map<string, WebSocket>()
  const rooms = new Map<string, WebSocket>()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const relay: TinyRelay = {
    url: `ws://127.0.0.1:${(server.address() as AddressInfo).port}`,
    knocks: 0,
    lastPlace: '',
    get places() {
      return daemons.size
    },
    frames: [],
    refuse: undefined,
    change: (frame) => frame,
    cut() {
      for (const room of rooms.values()) room.terminate()
    },
    async close() {
      if (!server.listening) return
      for (const socket of sockets.clients) socket.terminate()
      sockets.close()
      server.close()
      await once(server, 'close')
    },
  }

  sockets.on('connection', (socket: WebSocket, { url = '' }: IncomingMessage) => {
    socket.on('error', () => {})
    if (url === CONTROL_PATH) control(socket)
    else if (url.startsWith(SEAT_PREFIX)) seat(socket, url)
    else if (url.startsWith(DEVICE_PREFIX)) device(socket, url.slice(DEVICE_PREFIX.length))
    else socket.terminate()
  })
  return relay

  function control(socket: WebSocket): void {
    socket.on('message', (data) => void hear(socket, bytesOf(data)))
    socket.on('close', () => {
      for (const [place, daemon] of daemons) if (daemon === socket) daemons.delete(place)
    })
  }

  async function hear(socket: WebSocket, bytes: Bytes): Promise<void> {
    const message = decodeDaemonMessage(bytes)
    if (message?.kind === 'leave')
      for (const place of message.places) daemons.delete(toBase64Url(place))
    if (message?.kind !== 'sit') return
    const places = await Promise.all(message.keys.map((key) => placeId(key)))
    for (const place of places) daemons.set(toBase64Url(place), socket)
    socket.send(encodeRelayMessage({ kind: 'seated', places }))
  }

  function device(socket: WebSocket, place: string): void {
    relay.knocks++
    relay.lastPlace = place
    const daemon = daemons.get(place)
    const { code, reason } = relay.refuse ?? { code: RELAY_CLOSE.nobodyThere, reason: '' }
    if (relay.refuse !== undefined || daemon === undefined) {
      socket.close(code, reason)
      return
    }
    const ticket = randomBytes(TICKET_LENGTH)
    const room = `/${place}/${toBase64Url(ticket)}`
    rooms.set(room, socket)
    socket.pause()
    socket.on('close', () => rooms.delete(room))
    const id = fromBase64Url(place) ?? new Uint8Array()
    daemon.send(encodeRelayMessage({ kind: 'knock', place: id, ticket }))
  }

  function seat(socket: WebSocket, url: string): void {
    const other = rooms.get(`/${url.slice(SEAT_PREFIX.length)}`)
    if (other === undefined) {
      socket.close(RELAY_CLOSE.nobodyThere)
      return
    }
    other.on('message', (data) => {
      relay.frames.push(bytesOf(data))
      socket.send(bytesOf(data))
    })
    socket.on('message', (data) => {
      relay.frames.push(bytesOf(data))
      const changed = relay.change(bytesOf(data))
      if (changed !== undefined) other.send(changed)
    })
    other.on('close', () => socket.close())
    socket.on('close', () => other.close())
    other.resume()
  }
}
