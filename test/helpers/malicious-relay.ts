/**
 * What can a relay do to a real device and a real link? It speaks the relay's wire on real WebSockets, and asks the test what becomes of each
 * message, which room a seat gets, and who has a place. With no orders it is honest.
 */
import { once } from 'node:events'
import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Test } from 'tap'
import { WebSocketServer, type RawData, type WebSocket } from 'ws'
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
import { Arrivals } from './waiting.ts'

/** The direction of a message: up from the device to the daemon, or down. */
export type Way = 'up' | 'down'

/** A message that the relay is to pass. */
export interface Passing {
  readonly way: Way
  /** 0 for the message of the handshake, from 1 for records. */
  readonly number: number
  readonly message: Bytes
  readonly room: MaliciousRoom
}

/** A message for one side of a room. Text is sent as text, which no honest relay passes. */
export interface Delivery {
  readonly room: MaliciousRoom
  readonly way: Way
  readonly message: Bytes | string
}

/** What is delivered in place of a message: in the same room the same way, unless it is said otherwise. */
export type Malice = (passing: Passing) => ReadonlyArray<Bytes | Delivery>

/** An honest relay. */
export const honest: Malice = ({ message }) => [message]

/** A device's connection, and the daemon's for it; either may be missing, because the relay can play it. */
export class MaliciousRoom {
  /** The id of the place, in base64url. */
  readonly place: string
  device: WebSocket | undefined
  seat: WebSocket | undefined
  /** What each side has sent, in its order, whatever became of it. */
  readonly sent: Record<Way, Bytes[]> = { up: [], down: [] }
  /** What the device has said before the daemon came. */
  early: Bytes[] = []
  readonly #relay: MaliciousRelay

  constructor(relay: MaliciousRelay, place: string) {
    this.#relay = relay
    this.place = place
  }

  /** Whether the daemon came, and is still there. */
  get isSeated(): boolean {
    return this.seat?.readyState === 1
  }

  /** Hands a message to the daemon (up) or to the device (down), whoever made it. */
  deliver(way: Way, message: Bytes | string): void {
    const socket = way === 'up' ? this.seat : this.device
    if (socket?.readyState === 1) socket.send(message)
  }

  /** Closes both connections, in good order and without a last record. */
  close(): void {
    this.device?.close(RELAY_CLOSE.restart)
    this.seat?.close(RELAY_CLOSE.restart)
  }

  /** Waits until something is so. */
  until(condition: () => boolean): Promise<true> {
    return this.#relay.until(() => (condition() ? true : undefined))
  }
}

/** The relay. */
export class MaliciousRelay {
  readonly url: string
  /** What becomes of each message. */
  malice: Malice = honest
  /** The room that a daemon's connection gets. Honest: the one that was knocked for. */
  seats: (knocked: MaliciousRoom) => MaliciousRoom = (room) => room
  /** Where a device is led that comes to a place. Honest: to that place. */
  leads: (place: string) => string = (place) => place
  /** What becomes of a room at a place, instead of a knock. */
  readonly usurpers = new Map<string, (room: MaliciousRoom) => void>()
  /** Every room, in the order in which they were made. */
  readonly rooms: MaliciousRoom[] = []
  /** How many connections daemons have opened for knocks, the number that are open, and the most that were open at once. */
  readonly seatCounts = { opened: 0, open: 0, most: 0 }
  /** Everything that daemons have said on control connections. */
  readonly control: Bytes[] = []
  readonly #daemons = new Map<string, WebSocket>()
  readonly #controls = new Set<WebSocket>()
  readonly #tickets = new Map<string, MaliciousRoom>()
  readonly #arrivals = new Arrivals()

  private constructor(url: string) {
    this.url = url
  }

  /** Starts one on a free port of 127.0.0.1. It is closed when the test ends. */
  static async start(t: Test): Promise<MaliciousRelay> {
    const server = createServer((_request, response) => response.writeHead(404).end())
    const sockets = new WebSocketServer({ server, perMessageDeflate: false })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    const relay = new MaliciousRelay(`ws://127.0.0.1:${port}`)
    sockets.on('connection', (socket: WebSocket, { url = '' }: IncomingMessage) => {
      socket.on('error', () => {})
      relay.#take(socket, url)
    })
    t.teardown(() => {
      for (const socket of sockets.clients) socket.terminate()
      sockets.close()
      server.close()
    })
    return relay
  }

  /** How many answers of a handshake daemons have written. */
  get answers(): number {
    return this.rooms.filter(({ sent }) => sent.down.length > 0).length
  }

  /** Waits until something is so, which is looked at whenever something has happened here. */
  until<Found>(find: () => Found | undefined): Promise<Found> {
    return this.#arrivals.until(find)
  }

  /** The ids of the places at which daemons sit, in base64url. */
  get places(): string[] {
    return [...this.#daemons.keys()]
  }

  /** Waits until a daemon sits at a place. */
  sits(place: Bytes | string): Promise<true> {
    const id = typeof place === 'string' ? place : toBase64Url(place)
    return this.until(() => (this.#daemons.has(id) ? true : undefined))
  }

  /** Knocks at a place where a daemon sits, without a device: the relay itself speaks in the room. */
  knock(place: Bytes | string): MaliciousRoom {
    const room = this.#newRoom(typeof place === 'string' ? place : toBase64Url(place))
    this.tellDaemon(room)
    return room
  }

  /** Knocks for a room. */
  tellDaemon(room: MaliciousRoom): void {
    const ticket = randomBytes(TICKET_LENGTH)
    this.#tickets.set(toBase64Url(ticket), room)
    const place = fromBase64Url(room.place) ?? new Uint8Array()
    this.#daemons.get(room.place)?.send(encodeRelayMessage({ kind: 'knock', place, ticket }))
  }

  /** Says something to every daemon on its control connection. */
  say(bytes: Bytes | string): void {
    for (const control of this.#controls) control.send(bytes)
  }

  /** How many control connections are open. */
  get daemons(): number {
    return this.#controls.size
  }

  #take(socket: WebSocket, url: string): void {
    if (url === CONTROL_PATH) this.#takeControl(socket)
    else if (url.startsWith(SEAT_PREFIX)) this.#takeSeat(socket, url.split('/').at(-1) ?? '')
    else if (url.startsWith(DEVICE_PREFIX))
      this.#takeDevice(socket, url.slice(DEVICE_PREFIX.length))
    else socket.terminate()
    this.#arrivals.wake()
  }

  #takeControl(socket: WebSocket): void {
    this.#controls.add(socket)
    socket.on('message', (data) => void this.#obey(socket, bytesOf(data)))
    socket.on('close', () => {
      this.#controls.delete(socket)
      for (const [place, daemon] of this.#daemons)
        if (daemon === socket) this.#daemons.delete(place)
      this.#arrivals.wake()
    })
  }

  async #obey(socket: WebSocket, bytes: Bytes): Promise<void> {
    this.control.push(bytes)
    const message = decodeDaemonMessage(bytes)
    if (message?.kind === 'ping') socket.send(encodeRelayMessage({ kind: 'pong' }))
    if (message?.kind === 'leave')
      for (const place of message.places) this.#daemons.delete(toBase64Url(place))
    if (message?.kind === 'sit') {
      const places = await Promise.all(message.keys.map((key) => placeId(key)))
      for (const place of places) this.#daemons.set(toBase64Url(place), socket)
      socket.send(encodeRelayMessage({ kind: 'seated', places }))
    }
    this.#arrivals.wake()
  }

  #takeDevice(socket: WebSocket, place: string): void {
    const room = this.#newRoom(this.leads(place))
    room.device = socket
    this.#listen(socket, room, 'up')
    const usurper = this.usurpers.get(place)
    if (usurper !== undefined) usurper(room)
    else if (this.#daemons.has(room.place)) this.tellDaemon(room)
    else socket.close(RELAY_CLOSE.nobodyThere)
  }

  #takeSeat(socket: WebSocket, ticket: string): void {
    const knocked = this.#tickets.get(ticket)
    if (knocked === undefined) {
      socket.close(RELAY_CLOSE.nobodyThere)
      return
    }
    const { seatCounts } = this
    seatCounts.opened++
    seatCounts.open++
    seatCounts.most = Math.max(seatCounts.most, seatCounts.open)
    socket.on('close', () => seatCounts.open--)
    const room = this.seats(knocked)
    room.seat = socket
    this.#listen(socket, room, 'down')
    for (const message of room.early.splice(0)) this.#pass(room, 'up', message)
  }

  #newRoom(place: string): MaliciousRoom {
    const room = new MaliciousRoom(this, place)
    this.rooms.push(room)
    return room
  }

  #listen(socket: WebSocket, room: MaliciousRoom, way: Way): void {
    socket.on('message', (data) => {
      const message = bytesOf(data)
      if (way === 'up' && room.seat === undefined) room.early.push(message)
      else this.#pass(room, way, message)
      this.#arrivals.wake()
    })
    socket.on('close', () => {
      const other = way === 'up' ? room.seat : room.device
      other?.close(way === 'up' ? 1000 : RELAY_CLOSE.nobodyThere)
      this.#arrivals.wake()
    })
  }

  #pass(room: MaliciousRoom, way: Way, message: Bytes): void {
    const number = room.sent[way].push(message) - 1
    for (const each of this.malice({ way, number, message, room })) {
      if (each instanceof Uint8Array) room.deliver(way, each)
      else each.room.deliver(each.way, each.message)
    }
  }
}

function bytesOf(data: RawData): Bytes {
  return new Uint8Array(data as Buffer)
}
