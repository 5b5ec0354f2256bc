/**
 * Who meets whom? Daemons sit at places, devices come to places, and each device makes a room, which the daemon joins with the ticket of
 * the knock. Everything that the relay remembers is here, in memory alone.
 */
import type { WebSocket } from 'ws'
import { fromBase64Url, randomBytes, toBase64Url, type Bytes } from '../protocol/bytes.ts'
import { placeId } from '../protocol/places.ts'
import {
  MAX_DEVICES_PER_PLACE,
  MAX_PLACES,
  RELAY_CLOSE,
  TICKET_LENGTH,
  type DaemonMessage,
} from '../protocol/relay-wire.ts'
import type { Claims } from './claims.ts'
import { Control } from './control.ts'
import type { RelayCounts } from './counts.ts'
import { Room } from './room.ts'

/** A place: the daemon that sits there, and its rooms. */
interface Place {
  control: Control | undefined
  /** By ticket. */
  readonly rooms: Map<string, Room>
}

/** What meetings depend on. */
export interface MeetingParts {
  readonly claims: Claims
  readonly counts: RelayCounts
  /** The time, in milliseconds. It never goes back. */
  readonly now: () => number
}

/** Every place, daemon and room of this node. */
export class Meetings {
  readonly #claims: Claims
  readonly #counts: RelayCounts
  readonly #now: () => number
  readonly #places = new Map<string, Place>()
  readonly #controls = new Set<Control>()
  #rooms = 0

  constructor({ claims, counts, now }: MeetingParts) {
    this.#claims = claims
    this.#counts = counts
    this.#now = now
    claims.onLost((places, endsRooms) => this.#lose(places, endsRooms))
  }

  /** How much there is of everything; of the rooms, also how many wait for their daemon. */
  get sizes(): Readonly<Record<'daemons' | 'places' | 'rooms' | 'waiting', number>> {
    let waiting = 0
    for (const { rooms } of this.#places.values())
      for (const { isWaiting } of rooms.values()) if (isWaiting) waiting++
    const [daemons, places] = [this.#controls.size, this.#places.size]
    return { daemons, places, rooms: this.#rooms, waiting }
  }

  /** Whether a daemon sits at a place of this node. */
  isSeated(place: string): boolean {
    return this.#places.get(place)?.control !== undefined && this.#claims.holds(place)
  }

  /** Whether a place has as many devices as it may. */
  isFull(place: string): boolean {
    return (this.#places.get(place)?.rooms.size ?? 0) >= MAX_DEVICES_PER_PLACE
  }

  /** Takes the control connection of a daemon. */
  daemon(socket: WebSocket): void {
    const control: Control = new Control(socket, {
      counts: this.#counts,
      now: this.#now,
      onMessage: (message) => this.#obey(control, message),
      onOver: () => {
        this.#controls.delete(control)
        this.#leave(control, [...control.places])
      },
    })
    this.#controls.add(control)
  }

  /** Takes the connection of a device, and tells the daemon. */
  device(socket: WebSocket, id: string): void {
    const place = this.#places.get(id)
    const bytes = fromBase64Url(id)
    if (place?.control === undefined || bytes === undefined || !this.#claims.holds(id)) {
      this.refuse(socket, 'nobodyThere')
      return
    }
    if (this.isFull(id)) {
      this.refuse(socket, 'tooMany')
      return
    }
    const ticket = randomBytes(TICKET_LENGTH)
    const room = new Room(socket, toBase64Url(ticket), {
      counts: this.#counts,
      now: this.#now,
      onOver: (over) => this.#roomOver(id, over),
    })
    place.rooms.set(room.ticket, room)
    this.#rooms++
    this.#counts.knocks++
    place.control.send({ kind: 'knock', place: bytes, ticket })
  }

  /** Takes a daemon's connection for one knock. @returns whether it got a room: the device may have left, or the ticket is used */
  seat(socket: WebSocket, id: string, ticket: string): boolean {
    const room = this.#places.get(id)?.rooms.get(ticket)
    if (room?.isWaiting === true) {
      room.join(socket)
      return true
    }
    this.refuse(socket, 'nobodyThere')
    return false
  }

  /** Closes a connection that has no room. @param reason at most 123 bytes */
  refuse(socket: WebSocket, word: keyof typeof RELAY_CLOSE, reason = ''): void {
    this.#counts.closes[word]++
    socket.close(RELAY_CLOSE[word], reason)
  }

  /** Closes what has waited, or been silent, for too long. */
  check(): void {
    const now = this.#now()
    for (const { rooms } of this.#places.values())
      for (const room of rooms.values()) room.check(now)
    for (const control of this.#controls) control.check(now)
  }

  /** Every connection that can be closed, one function each: a room's two sides are closed together. */
  closers(): Array<(word: 'restart') => void> {
    const all: Array<Room | Control> = [...this.#controls]
    for (const { rooms } of this.#places.values()) all.push(...rooms.values())
    return all.map((one) => (word) => one.close(word))
  }

  /**
   * Takes places from their daemons, who are told that others have them and who try again.
   * @param endsRooms whether rooms end too; those that are not complete always do
   */
  #lose(ids: readonly string[], endsRooms: boolean): void {
    const lost = new Map<Control, Bytes[]>()
    for (const id of ids) {
      const place = this.#places.get(id)
      const bytes = fromBase64Url(id)
      if (place === undefined || bytes === undefined) continue
      if (place.control !== undefined) {
        lost.set(place.control, [...(lost.get(place.control) ?? []), bytes])
        place.control.places.delete(id)
        place.control = undefined
      }
      for (const room of [...place.rooms.values()])
        if (endsRooms || room.isWaiting) room.close('restart')
      this.#forgetEmpty(id)
    }
    for (const [control, places] of lost) control.send({ kind: 'taken', places })
  }

  async #obey(control: Control, message: DaemonMessage): Promise<void> {
    if (message.kind === 'ping') control.send({ kind: 'pong' })
    else if (message.kind === 'leave') this.#leave(control, message.places.map(toBase64Url))
    else await this.#sit(control, message.keys)
  }

  async #sit(control: Control, keys: readonly Bytes[]): Promise<void> {
    const ids = new Map<string, Bytes>()
    for (const key of keys) {
      const id = await placeId(key)
      ids.set(toBase64Url(id), id)
    }
    const asked = [...ids.keys()]
    if (new Set([...control.places, ...asked]).size > MAX_PLACES) {
      control.close('badMessage')
      return
    }
    const held = await this.#claims.claim(asked)
    if (control.isOver) {
      this.#claims.release(asked.filter((id) => this.#places.get(id)?.control === undefined))
      return
    }
    for (const id of asked) if (held.has(id)) this.#give(id, control)
    const among = (isHeld: boolean) =>
      [...ids].filter(([id]) => held.has(id) === isHeld).map(([, bytes]) => bytes)
    const [seated, taken] = [among(true), among(false)]
    if (seated.length > 0) control.send({ kind: 'seated', places: seated })
    if (taken.length > 0) control.send({ kind: 'taken', places: taken })
  }

  /** Gives a place to a daemon that has shown its key. The newest has it: the older connection may be dead and not know it. */
  #give(id: string, control: Control): void {
    const place = this.#places.get(id) ?? { control: undefined, rooms: new Map<string, Room>() }
    this.#places.set(id, place)
    if (place.control !== control) place.control?.places.delete(id)
    place.control = control
    control.places.add(id)
  }

  /** Only places at which this daemon sits are left: the id alone gives nobody a say. */
  #leave(control: Control, ids: readonly string[]): void {
    const left = ids.filter((id) => this.#places.get(id)?.control === control)
    for (const id of left) {
      control.places.delete(id)
      const place = this.#places.get(id)
      if (place === undefined) continue
      place.control = undefined
      for (const room of [...place.rooms.values()]) if (room.isWaiting) room.close('nobodyThere')
      this.#forgetEmpty(id)
    }
    if (left.length > 0) this.#claims.release(left)
  }

  #roomOver(id: string, room: Room): void {
    this.#rooms--
    this.#places.get(id)?.rooms.delete(room.ticket)
    this.#forgetEmpty(id)
  }

  #forgetEmpty(id: string): void {
    const place = this.#places.get(id)
    if (place?.control === undefined && place?.rooms.size === 0) this.#places.delete(id)
  }
}
