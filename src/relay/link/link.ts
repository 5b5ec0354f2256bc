/** How is the daemon's side of the relay run? This file joins its parts: who is listed, where the link sits, who comes, and what follows. */
import { join } from 'node:path'
import type { Logger } from 'pino'
import { VERSION } from '../../answers/version.ts'
import { ConfigError } from '../../config/load.ts'
import type { LinkConfig } from '../../config/link-settings.ts'
import { takeLock } from '../../store/state-lock.ts'
import type { Bytes } from '../protocol/bytes.ts'
import { comparisonCode } from '../protocol/handshake.ts'
import type { NoiseKeyPair } from '../protocol/noise.ts'
import { encodeOffer, offerDigits, OfferError, PROTOCOL_VERSIONS } from '../protocol/offer.ts'
import { Backlog } from './backlog.ts'
import { MACHINE_CLOCK, type LinkClock } from './clock.ts'
import { Control } from './control.ts'
import { DeviceChannel } from './device-channel.ts'
import { DeviceList, MAX_DEVICES, MAX_WAITING, WAITING_MS, type Device } from './device-list.ts'
import { GatewayNotices } from './gateway-notices.ts'
import { loadIdentity, replaceIdentity } from './identity.ts'
import { MeetingPlaces, type MeetingPlace } from './meeting-places.ts'
import { MAX_OFFERS, Offers, type OpenOffer } from './offers.ts'
import { openOwnerDoor, type OwnerActs } from './owner-door.ts'
import { LinkError } from './owner-errors.ts'
import type {
  DevicesAnswer,
  DeviceView,
  LinkStatus,
  OfferAnswer,
  OfferQuestion,
  OfferStatus,
  RevokedAnswer,
} from './owner-protocol.ts'
import { prepareFolder } from './private-file.ts'
import { Seat, type Proven, type Taker } from './seat.ts'
import { connectionToTarget, type ConnectTarget } from './target-connection.ts'

/** Channels at a time, those included whose handshake goes on. */
const MAX_CHANNELS = 64

/** Channels of one device at a time, such as the tabs of a browser. The oldest makes room. */
const MAX_CHANNELS_PER_DEVICE = 8

/** How often the link looks whether something is due, in milliseconds. */
const TICK_MS = 5000

/** How long devices may take to be told that the link stops, in milliseconds. */
const FAREWELL_MS = 1000

/** The error when another link uses the same state folder. */
export class LinkBusyError extends Error {
  override readonly name = 'LinkBusyError'
}

/** What a link is started with. */
export interface LinkOptions {
  readonly logger: Logger
  /** Default: the clock of the machine. */
  readonly clock?: LinkClock
  /** What opens connections to the target. Default: {@link connectionToTarget}. */
  readonly connect?: ConnectTarget
  /** Counts what waits in all channels. Default: one with 128 MiB for all. */
  readonly backlog?: Backlog
}

/** A link that runs. */
export interface RunningLink {
  /** Tells devices that the link stops, and closes everything. */
  close(): Promise<void>
}

/**
 * Starts a link: it listens at the owner's socket, and dials the relay.
 * @throws LinkFileError when the key or the list of devices cannot be used
 * @throws {LinkBusyError} when another link has the state folder
 * @throws {ConfigError} when pairing links cannot name the relay; an error with `EADDRINUSE` when another has the owner's socket
 */
export async function startLink(
  config: LinkConfig,
  {
    logger,
    clock = MACHINE_CLOCK,
    connect = connectionToTarget(config),
    backlog = new Backlog(),
  }: LinkOptions,
): Promise<RunningLink> {
  refuseRelayWithoutName(config.relayUrl)
  const { stateDir } = config
  prepareFolder(stateDir)
  const lock = takeLock(join(stateDir, LOCK_FILE))
  if (lock === undefined)
    throw new LinkBusyError(`LINK_STATE_DIR "${stateDir}" is in use: another link runs with it`)
  try {
    const devices = await DeviceList.open(stateDir, clock.now())
    const keys = await loadIdentity(stateDir, devices.all().length === 0)
    const link = new Link({ config, logger, clock, connect, backlog, devices, keys })
    const door = await openOwnerDoor(config.ownerSocket, { acts: link, logger })
    await link.open()
    const closeAll = async (): Promise<void> => {
      await link.close()
      await door.close()
      lock.release()
    }
    let closed: Promise<void> | undefined
    return { close: () => (closed ??= closeAll()) }
  } catch (error) {
    lock.release()
    throw error
  }
}

const LOCK_FILE = 'link.lock'

/** A link's offer has room for a host of 255 bytes, and takes ws:// on three names alone. */
function refuseRelayWithoutName(relay: string): void {
  const key = new Uint8Array(32)
  const [version = 1] = PROTOCOL_VERSIONS
  const offer = { version, isApproved: false, daemonKey: key, psk: key, expiresAt: 0, relay }
  try {
    encodeOffer({ ...offer, place: new Uint8Array(16) })
  } catch (error) {
    if (!(error instanceof OfferError)) throw error
    throw new ConfigError([
      `LINK_RELAY_URL "${relay}" cannot be in a pairing link: ${error.message}`,
    ])
  }
}

interface LinkParts extends Required<LinkOptions> {
  readonly config: LinkConfig
  readonly devices: DeviceList
  readonly keys: NoiseKeyPair
}

class Link implements OwnerActs {
  readonly #parts: LinkParts
  readonly #devices: DeviceList
  readonly #offers: Offers
  readonly #places: MeetingPlaces
  readonly #control: Control
  readonly #notices: GatewayNotices | undefined
  readonly #seats = new Set<Seat>()
  /** In the order in which they came. */
  readonly #channels = new Set<DeviceChannel>()
  #keys: NoiseKeyPair
  #cancelTick = () => {}
  #onEmpty = () => {}
  #isClosed = false

  constructor(parts: LinkParts) {
    const { config, logger, clock, devices, keys } = parts
    this.#parts = parts
    this.#devices = devices
    this.#keys = keys
    this.#offers = new Offers(clock.now)
    this.#places = new MeetingPlaces({
      devices: () => devices.all(),
      offers: () => this.#offers.all(),
      ...{ now: clock.now, elapsed: clock.elapsed },
    })
    this.#control = new Control({
      ...{ relay: config.relayUrl, clock, logger },
      places: () => this.#places.all(),
      onKnock: (node, place, ticket) => this.#knocked(node, place, ticket),
      onConnected: () => this.#notices?.changed(),
    })
    this.#notices = config.isGateway
      ? new GatewayNotices({ config, clock, logger, devices: () => devices.approved() })
      : undefined
  }

  async open(): Promise<void> {
    this.#endWaiting()
    await this.#followPlaces()
    this.#notices?.changed()
    this.#control.open()
    this.#tickLater()
  }

  async close(): Promise<void> {
    this.#isClosed = true
    this.#cancelTick()
    this.#control.close()
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#onEmpty = resolve
    for (const seat of this.#seats) seat.close('restart', 'the workspace restarts')
    if (this.#seats.size > 0) {
      const timer = setTimeout(resolve, FAREWELL_MS)
      await promise
      clearTimeout(timer)
    }
    for (const channel of this.#channels) channel.ended()
    this.#writeSeen(true)
  }

  // What the owner asks.

  status(): LinkStatus {
    const { config } = this.#parts
    const { isConnected, since, problem = null } = this.#control
    return {
      ...{ version: VERSION, relay: config.relayUrl, isConnected, problem },
      since: since === undefined ? null : isoTime(since),
      target: this.#targetKind,
      devices: this.#devices.all().length,
      offers: this.#offers.all().length,
    }
  }

  devices(): DevicesAnswer {
    return { devices: this.#devices.all().map((device) => this.#viewOf(device)) }
  }

  async offer({ sub, isApproved = false }: OfferQuestion): Promise<OfferAnswer> {
    const { config } = this.#parts
    const made = await this.#offers.make({
      ...{ sub, isApproved, daemonKey: this.#keys.publicKey, relay: config.relayUrl },
    })
    if (made === undefined)
      throw new LinkError(
        'conflict',
        `${MAX_OFFERS} pairing links are open; use one of them, or wait until one has ended`,
      )
    await this.#followPlaces()
    const { id, offer } = made
    await this.#control.seatedAt(offer.place)
    return {
      id,
      link: `${config.pageUrl}#${offerDigits(offer)}`,
      expiresAt: isoTime(offer.expiresAt * 1000),
    }
  }

  offerStatus(id: string): OfferStatus {
    const fate = this.#offers.fate(id)
    if (fate === undefined)
      throw new LinkError(
        'not-found',
        'there is no such pairing link: all end when the link process ends; "workspace-gateway devices list" shows who has come',
      )
    const device = fate.device === undefined ? undefined : this.#devices.get(fate.device)
    return {
      ...{ id, state: fate.state, problem: fate.problem ?? null },
      device: device === undefined ? null : this.#viewOf(device),
    }
  }

  approve(id: string, sub: string): DeviceView {
    const device = this.#listed(id)
    if (device.state === 'approved') {
      if (device.sub === sub) return this.#viewOf(device)
      throw new LinkError(
        'conflict',
        `the device is approved for ${device.sub}; revoke it and pair it again for another person`,
      )
    }
    const approved: Device = { ...device, sub, state: 'approved' }
    this.#saving(() => this.#devices.change(approved))
    this.#parts.logger.info({ device: id, sub }, 'a device was approved')
    this.#notices?.changed()
    for (const channel of this.#channelsOf(id))
      channel.note({ kind: 'approved', name: device.name })
    this.#tellOthers(id, { kind: 'device-approved', name: device.name })
    return this.#viewOf(approved)
  }

  rename(id: string, name: string): DeviceView {
    const renamed = { ...this.#listed(id), name }
    this.#saving(() => this.#devices.change(renamed))
    return this.#viewOf(renamed)
  }

  revoke(id: string): RevokedAnswer {
    const { name } = this.#listed(id)
    // What is open ends first, even when the list cannot be written.
    for (const channel of this.#channelsOf(id)) channel.close('revoked', 'the device was revoked')
    this.#saving(() => this.#remove([id]))
    this.#parts.logger.info({ device: id }, 'a device was revoked')
    this.#tellOthers(id, { kind: 'device-revoked', name })
    return { id, name }
  }

  async reset(): Promise<void> {
    this.#offers.clear()
    for (const channel of this.#channels)
      channel.close('revoked', 'the workspace has a new key: pair again')
    for (const seat of this.#seats) seat.close('revoked', 'the workspace has a new key')
    this.#saving(() => this.#remove(this.#devices.all().map(({ id }) => id)))
    try {
      this.#keys = await replaceIdentity(this.#parts.config.stateDir)
    } catch (error) {
      throw notSaved(error, 'the devices are forgotten, and the key is the old one; try again')
    }
    this.#parts.logger.warn('the link has a new key, and no devices')
  }

  // What devices do.

  #knocked(node: string, id: Bytes, ticket: Bytes): void {
    const place = this.#places.at(id)
    if (this.#isClosed || place === undefined) return
    if (this.#seats.size >= MAX_CHANNELS || !place.pace.mayKnock()) {
      this.#parts.logger.debug('a knock was not heard: too many')
      return
    }
    const { config, clock, backlog } = this.#parts
    const seat: Seat = new Seat(
      {
        ...{ own: this.#keys, relay: config.relayUrl, clock, backlog },
        keyOf: ({ guest }) =>
          guest.kind === 'device' ? this.#devices.get(guest.id)?.key : undefined,
        isExpected: ({ guest }) =>
          guest.kind === 'device'
            ? this.#devices.get(guest.id) !== undefined
            : this.#offers.isOpen(guest.offer),
        onFailed: (where) => this.#failed(where),
        onProven: (proven) => this.#proven(proven),
        onOver: () => {
          this.#seats.delete(seat)
          if (this.#seats.size === 0) this.#onEmpty()
        },
      },
      { place, ticket, node },
    )
    this.#seats.add(seat)
  }

  #failed({ guest }: MeetingPlace): void {
    this.#parts.logger.debug('a handshake has failed')
    if (guest.kind !== 'offer' || !this.#offers.failed(guest.offer)) return
    this.#parts.logger.warn('a pairing link has burnt: too many have failed to use it')
    void this.#followPlaces()
  }

  #proven(proven: Proven): Taker | undefined {
    const { place, channel } = proven
    const { guest } = place
    const device =
      guest.kind === 'offer' ? this.#pair(guest.offer, proven) : this.#devices.get(guest.id)
    if (typeof device === 'string') channel.close('notApproved', device)
    else if (device === undefined) channel.close('revoked', 'the device is not listed any more')
    else return this.#admit(device, proven)
    return undefined
  }

  /** Uses an offer up. @returns the device; or why it was refused, as a sentence for it */
  #pair(open: OpenOffer, proven: Proven): Device | string {
    const isFirst = this.#offers.use(open)
    void this.#followPlaces()
    if (!isFirst) return 'the link was used before, or has ended'
    const device = this.#list(open, proven)
    this.#offers.usedBy(
      open,
      typeof device === 'string' ? { problem: device } : { device: device.id },
    )
    return device
  }

  /** Lists the device that has used an offer. @returns why not, as a sentence for the device */
  #list(open: OpenOffer, { id, deviceKey, hello, met }: Proven): Device | string {
    const { config, clock, logger } = this.#parts
    const others = this.#devices.all().filter((device) => device.id !== id)
    const isApproved = open.offer.isApproved || config.autoApprove
    const waiting = others.filter(({ state }) => state === 'waiting').length
    if (others.length >= MAX_DEVICES) return 'too many devices are listed: revoke one first'
    if (!isApproved && waiting >= MAX_WAITING) return 'too many devices wait for approval'
    const device: Device = {
      ...{ id, key: deviceKey, placeSecret: met.extraSecret, sub: open.sub },
      ...{ name: hello.name, kind: hello.kind, state: isApproved ? 'approved' : 'waiting' },
      ...{ pairedAt: clock.now(), lastSeenAt: undefined },
    }
    try {
      this.#devices.put(device)
    } catch (error) {
      logger.error({ err: error }, 'a device that has paired could not be saved')
      return 'the device could not be saved: the disk of the workspace may be full'
    }
    for (const channel of this.#channelsOf(id)) channel.close('done', 'the device was paired again')
    logger.info({ device: id, state: device.state }, 'a device has paired')
    this.#notices?.changed()
    void this.#followPlaces()
    const kind = isApproved ? 'device-approved' : 'device-waiting'
    this.#tellOthers(id, { kind, name: device.name })
    return device
  }

  #admit({ id, state }: Device, { channel, met, backlog }: Proven): Taker {
    const { config, connect, logger } = this.#parts
    const [oldest, ...more] = this.#channelsOf(id)
    if (more.length + 1 >= MAX_CHANNELS_PER_DEVICE)
      oldest?.close('done', 'the device has too many channels')
    const admitted = new DeviceChannel({
      ...{ channel, connect, backlog, id, code: comparisonCode(met.handshakeHash) },
      device: () => this.#devices.get(id),
    })
    this.#channels.add(admitted)
    admitted.welcome({ device: id, state, host: config.host, target: this.#targetKind })
    return {
      take: (record) => admitted.take(record),
      shed() {
        logger.warn(
          { device: id },
          'too much waits for devices and targets that do not read: the channel that keeps most is closed',
        )
        admitted.close('done', 'too much waits in this channel: read faster, or open fewer streams')
      },
      ended: (end) => {
        admitted.ended()
        if ('cause' in end && end.cause !== undefined)
          logger.error({ err: end.cause, device: id }, 'fault in the channel of a device')
        this.#channels.delete(admitted)
        this.#devices.seen(id, this.#parts.clock.now())
      },
    }
  }

  #tellOthers(id: string, note: Parameters<DeviceChannel['note']>[0]): void {
    for (const channel of this.#channels)
      if (channel.id !== id && this.#devices.get(channel.id)?.state === 'approved')
        channel.note(note)
  }

  // What time brings.

  #tickLater(): void {
    this.#cancelTick = this.#parts.clock.after(TICK_MS, () => {
      this.#tick()
      this.#tickLater()
    })
  }

  #tick(): void {
    this.#control.tick()
    this.#notices?.tick()
    for (const channel of this.#channels) channel.check()
    const haveOffersEnded = this.#offers.sweep()
    this.#endWaiting()
    this.#writeSeen(false)
    if (haveOffersEnded || this.#places.isOld) void this.#followPlaces()
  }

  /** Forgets devices that have waited for too long. */
  #endWaiting(): void {
    const now = this.#parts.clock.now()
    const late = this.#devices
      .all()
      .filter(({ state, pairedAt }) => state === 'waiting' && now - pairedAt >= WAITING_MS)
      .map(({ id }) => id)
    if (late.length === 0) return
    for (const id of late)
      for (const channel of this.#channelsOf(id))
        channel.close('notApproved', 'the device was not approved within an hour')
    try {
      this.#remove(late)
    } catch (error) {
      this.#parts.logger.error({ err: error }, 'the list of devices could not be written')
    }
  }

  #writeSeen(atOnce: boolean): void {
    try {
      this.#devices.writeSeen(this.#parts.clock.now(), atOnce)
    } catch (error) {
      this.#parts.logger.error({ err: error }, 'the list of devices could not be written')
    }
  }

  /** Removes devices, and lets the gateway and the relay know, also when that cannot be written. @throws an error of the system */
  #remove(ids: readonly string[]): void {
    try {
      this.#devices.remove(ids)
    } finally {
      this.#notices?.changed()
      void this.#followPlaces()
    }
  }

  async #followPlaces(): Promise<void> {
    this.#control.follow(await this.#places.update())
  }

  #saving(work: () => void): void {
    try {
      work()
    } catch (error) {
      this.#parts.logger.error({ err: error }, 'the list of devices could not be written')
      throw notSaved(
        error,
        'a revoked device stays out while the link runs, and nothing else has changed; free some space and run this again',
      )
    }
  }

  #listed(id: string): Device {
    const device = this.#devices.get(id)
    if (device !== undefined) return device
    throw new LinkError(
      'not-found',
      'there is no such device; "workspace-gateway devices list" shows those that are there',
    )
  }

  #channelsOf(id: string): DeviceChannel[] {
    return [...this.#channels].filter((channel) => channel.id === id)
  }

  #viewOf({ id, name, kind, state, sub, pairedAt, lastSeenAt }: Device): DeviceView {
    const newest = this.#channelsOf(id).at(-1)
    return {
      ...{ id, name, kind, state, sub, code: newest?.code ?? null },
      pairedAt: isoTime(pairedAt),
      lastSeenAt: lastSeenAt === undefined ? null : isoTime(lastSeenAt),
      isConnected: newest !== undefined,
    }
  }

  get #targetKind(): 'gateway' | 'service' {
    return this.#parts.config.isGateway ? 'gateway' : 'service'
  }
}

function notSaved(cause: unknown, what: string): LinkError {
  return new LinkError('not-saved', `the files of the link could not be written: ${what}`, {
    cause,
  })
}

function isoTime(time: number): string {
  return new Date(time).toISOString()
}
