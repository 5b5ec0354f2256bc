/**
 * How does a device stay connected with its workspace? It meets it, shows who it is, waits for the owner's approval where that is needed,
 * and meets it again, with pauses that grow, whenever the connection is lost.
 */
import { Channel, type ChannelEnd } from '../protocol/channel.ts'
import {
  comparisonCode,
  deviceId,
  isDeviceName,
  NAME_RULE,
  type Met,
} from '../protocol/handshake.ts'
import { decodeNote, decodeWelcome, type Note, type Welcome } from '../protocol/messages.ts'
import { NoiseError, type NoiseKeyPair } from '../protocol/noise.ts'
import { OFFER_SECONDS, type Offer } from '../protocol/offer.ts'
import { dayOf, dayPlaceKey, placeId } from '../protocol/places.ts'
import { RECORD, type ChannelRecord } from '../protocol/records.ts'
import { Streams, type Stream, type StreamEvents } from '../protocol/streams.ts'
import { SYSTEM_CLOCK, type ClientClock } from './clock.ts'
import { DeviceSession, isTokenOver } from './device-session.ts'
import { sendRequest, type RemoteAnswer, type RemoteRequest, type Way } from './http.ts'
import { meet, type MeetOptions } from './meet.ts'
import type { PairedDevice } from './paired-device.ts'
import type { OpenSocket, PlaceSocket } from './place-socket.ts'
import { RemoteError, type RemoteProblem } from './remote-error.ts'
import {
  openWebSocket,
  type RemoteSocket,
  type RemoteSocketEvents,
  type RemoteSocketRequest,
} from './web-socket.ts'

/** Where a connection is in its life. */
export type RemoteState =
  /** It meets the workspace, or waits until it tries again. */
  | {
      readonly kind: 'connecting'
      /** Why the attempt before has failed; undefined before the first. */
      readonly problem: RemoteError | undefined
      /** When the next attempt begins, in milliseconds since 1970; undefined while one is under way. */
      readonly retryAt: number | undefined
    }
  /** The owner has to approve this device, and compares this code with the one in the list of devices. */
  | { readonly kind: 'waiting'; readonly code: string }
  | { readonly kind: 'open'; readonly target: Welcome['target'] }
  /** It is over, for good. */
  | { readonly kind: 'ended'; readonly problem: RemoteError }

/** What a connection tells. No listener may throw. */
export interface RemoteEvents {
  onState?(state: RemoteState): void
  /** The workspace has taken this device into its list: keep this. Called once, by a connection that pairs, before it waits or is open. */
  onPaired?(device: PairedDevice): void
  /** Something happened to another device of the owner. */
  onNote?(note: Note): void
}

/** What a connection needs of its surroundings. */
export interface RemoteOptions {
  readonly events?: RemoteEvents
  readonly clock?: ClientClock
  /** For the length of pauses, from 0 to 1. Default: `Math.random`. */
  readonly random?: () => number
  /** Opens the WebSocket to the relay. Default: with that of the platform. */
  readonly openSocket?: OpenSocket
}

/** What a device pairs with. */
export interface PairingOptions {
  readonly offer: Offer
  /** New keys of the device, for this workspace alone. */
  readonly own: NoiseKeyPair
  readonly kind: PairedDevice['kind']
  /** The name that the owner sees: at most 64 bytes in UTF-8. */
  readonly name: string
}

/** The first pause before another attempt, and the longest, in milliseconds. Each is twice the one before, with full jitter. */
const FIRST_PAUSE_MS = 500
const LONGEST_PAUSE_MS = 60_000

/** A connection that was open for so long was a good one: the next pause is a first one. In milliseconds. */
const STABLE_MS = 60_000

/** How often a channel is looked after, in milliseconds. */
const CHECK_MS = 5000

/** How long the workspace may take to welcome a device after the handshake, in milliseconds. */
const WELCOME_MS = 30_000

/** A clock that is less wrong than this needs no correction, in milliseconds: the workspace is at the places of three days. */
const TOLERATED_MS = 43_200_000

/** Attempts to find out whether a pairing that was cut has been kept. */
const MAX_UNSURE_ATTEMPTS = 5

/** What no further attempt can mend. */
const FINAL: ReadonlySet<RemoteProblem> = new Set(['revoked', 'not-approved', 'bad-request'])

/** What ends a pairing at once: the link is used up, or would be by further attempts. */
const FINAL_FOR_PAIRING: ReadonlySet<RemoteProblem> = new Set([
  'nobody-there',
  'not-the-workspace',
  'cut',
  'link-expired',
])

/** What a device knows by now. */
type Standing =
  | {
      readonly kind: 'new'
      readonly pairing: PairingOptions
      /** When a link of any age is over, on the clock that is never set back. */
      readonly until: number
    }
  /** The handshake of the pairing is over, and the workspace has not welcomed the device yet. */
  | { readonly kind: 'unsure'; readonly candidate: PairedDevice; readonly attempts: number }
  | { readonly kind: 'paired'; readonly device: PairedDevice }

/** A device's connection with its workspace. */
export class RemoteConnection {
  readonly #events: RemoteEvents
  readonly #clock: ClientClock
  readonly #random: () => number
  readonly #openSocket: OpenSocket | undefined
  readonly #abort = new AbortController()
  readonly #waiters = new Set<() => void>()
  #standing: Standing
  #state: RemoteState = { kind: 'connecting', problem: undefined, retryAt: undefined }
  #line: Line | undefined
  #attempts = 0
  /** Whether the next attempt counts days by the device's clock alone: it may have been set right since the device was paired. */
  #isByOwnClock = false
  #cancelPause = () => {}

  private constructor(standing: Standing, options: RemoteOptions) {
    const { events = {}, clock = SYSTEM_CLOCK, random = Math.random, openSocket } = options
    this.#standing = standing
    this.#events = events
    this.#clock = clock
    this.#random = random
    this.#openSocket = openSocket
  }

  /** Pairs this device by an offer, and stays connected. @throws {RemoteError} `bad-request` for a name that a device cannot have */
  static pair(pairing: PairingOptions, options: RemoteOptions = {}): RemoteConnection {
    if (!isDeviceName(pairing.name)) throw new RemoteError('bad-request', `a name has ${NAME_RULE}`)
    const { clock = SYSTEM_CLOCK } = options
    const until = clock.elapsed() + OFFER_SECONDS * 1000
    return RemoteConnection.#start({ kind: 'new', pairing, until }, options)
  }

  /** Meets the workspace again. */
  static meet(device: PairedDevice, options: RemoteOptions = {}): RemoteConnection {
    return RemoteConnection.#start({ kind: 'paired', device }, options)
  }

  static #start(standing: Standing, options: RemoteOptions): RemoteConnection {
    const connection = new RemoteConnection(standing, options)
    void connection.#attempt()
    return connection
  }

  get state(): RemoteState {
    return this.#state
  }

  /** Resolves when the connection is open. @throws {RemoteError} when it has ended */
  async whenOpen(): Promise<void> {
    while (this.#state.kind !== 'open') {
      if (this.#state.kind === 'ended') throw this.#state.problem
      const { promise, resolve } = Promise.withResolvers<void>()
      this.#waiters.add(resolve)
      await promise
    }
  }

  /**
   * Sends a request as the owner of this device: behind a gateway with the device's session, which is fetched once more when it has
   * ended meanwhile.
   * @throws {RemoteError} `not-open`, `bad-request`, `bad-answer`, `cut`, `aborted`; `refused` when there is no session
   */
  async fetch(request: RemoteRequest): Promise<RemoteAnswer> {
    const line = this.#openLine()
    if (line.session === undefined) return sendRequest(line.way, request)
    const answer = await sendRequest(line.way, await this.#signed(request, line.session))
    if (!isTokenOver(answer)) return answer
    line.session.forget()
    await answer.body.cancel()
    return sendRequest(line.way, await this.#signed(request, line.session))
  }

  /** Opens a WebSocket as the owner of this device. @throws as `fetch`; HandshakeRefused when it is refused */
  async openWebSocket(
    request: RemoteSocketRequest,
    events: RemoteSocketEvents,
  ): Promise<RemoteSocket> {
    const line = this.#openLine()
    const signed = line.session === undefined ? request : await this.#signed(request, line.session)
    return openWebSocket(line.way, signed, events)
  }

  /**
   * Shows a second factor, for routes that answer 401 `step-up-required`.
   * @param code of the authenticator app, or a backup code
   * @throws {RefusedError} with what is wrong with it; {RemoteError} as `fetch`
   */
  async showFactor(code: string): Promise<void> {
    const { session } = this.#openLine()
    if (session === undefined) throw new RemoteError('refused', 'no gateway is behind this relay')
    await session.showFactor(code)
  }

  /** Tries at once, instead of after the pause: the network is back, or somebody looks. */
  retryNow(): void {
    if (this.#state.kind !== 'connecting' || this.#state.retryAt === undefined) return
    this.#cancelPause()
    void this.#attempt()
  }

  /** Ends the connection, for good. The workspace is told. */
  close(): void {
    this.#end(new RemoteError('aborted', 'the connection was closed'))
  }

  #openLine(): Line {
    if (this.#line !== undefined && this.#state.kind === 'open') return this.#line
    throw this.#state.kind === 'ended'
      ? this.#state.problem
      : new RemoteError('not-open', 'there is no connection to the workspace at the moment')
  }

  /** Adds the session. A caller that sends `Authorization` has one for the service itself, so the session goes beside it. */
  async #signed<Request extends Pick<RemoteRequest, 'headers'>>(
    request: Request,
    session: DeviceSession,
  ): Promise<Request> {
    const token = await session.token()
    const { headers = {} } = request
    const hasOwn = Object.keys(headers).some((name) => name.toLowerCase() === 'authorization')
    const own = hasOwn ? { 'X-Workspace-Token': token } : { Authorization: `Bearer ${token}` }
    return { ...request, headers: { ...headers, ...own } }
  }

  async #attempt(): Promise<void> {
    this.#become({ kind: 'connecting', problem: problemIn(this.#state), retryAt: undefined })
    try {
      const line = await this.#meet()
      if (this.#abort.signal.aborted) line.channel.close('done')
    } catch (error) {
      if (this.#state.kind !== 'ended') this.#lost(asProblem(error))
    }
  }

  async #meet(): Promise<Line> {
    const standing = this.#standing
    const clock = this.#clock
    const plan = await planOf(standing, clock, this.#isByOwnClock)
    const { met, socket } = await meet({
      ...{ ...plan, clock, signal: this.#abort.signal, openSocket: this.#openSocket },
    })
    if (standing.kind === 'new') {
      const candidate = await candidateOf(standing.pairing, met, clock.now())
      this.#standing = { kind: 'unsure', attempts: 0, candidate }
    }
    const line = new Line({ met, socket, clock, ...this.#lineEvents() })
    this.#line = line
    return line
  }

  #lineEvents(): LineEvents {
    return {
      onWelcome: (line, welcome) => this.#welcomed(line, welcome),
      onNote: (line, note) => this.#noted(line, note),
      onEnd: (line, end) => this.#lineEnded(line, end),
    }
  }

  #welcomed(line: Line, { device: id, state, host, target }: Welcome): void {
    const standing = this.#standing
    if (standing.kind === 'new') return
    const before = deviceIn(standing)
    if (id !== before.id) throw new NoiseError('the workspace welcomes another device')
    const device = { ...before, host, target }
    this.#standing = { kind: 'paired', device }
    if (standing.kind === 'unsure') this.#events.onPaired?.(device)
    line.begin(device)
    if (state === 'waiting') this.#become({ kind: 'waiting', code: line.code })
    else this.#become({ kind: 'open', target })
  }

  #noted(line: Line, note: Note): void {
    if (note.kind !== 'approved') this.#events.onNote?.(note)
    else if (this.#state.kind === 'waiting' && this.#standing.kind === 'paired') {
      line.begin(this.#standing.device)
      this.#become({ kind: 'open', target: this.#standing.device.target })
    }
  }

  #lineEnded(line: Line, end: ChannelEnd): void {
    if (this.#line !== line || this.#state.kind === 'ended') return
    this.#line = undefined
    if (line.wasStable) this.#attempts = 0
    this.#lost(problemOfEnd(end))
  }

  /** An attempt has failed, or the connection was lost: tries again after a pause, unless it makes no sense. */
  #lost(problem: RemoteError): void {
    if (this.#isFinal(problem)) {
      this.#end(explained(problem, this.#standing))
      return
    }
    if (problem.problem === 'nobody-there') this.#isByOwnClock = !this.#isByOwnClock
    const longest = Math.min(FIRST_PAUSE_MS * 2 ** this.#attempts++, LONGEST_PAUSE_MS)
    const pause = Math.round(this.#random() * longest)
    this.#cancelPause = this.#clock.after(pause, () => void this.#attempt())
    const shown = explained(problem, this.#standing)
    this.#become({ kind: 'connecting', problem: shown, retryAt: this.#clock.now() + pause })
  }

  #isFinal({ problem }: RemoteError): boolean {
    if (FINAL.has(problem)) return true
    const standing = this.#standing
    if (standing.kind === 'new') return FINAL_FOR_PAIRING.has(problem)
    if (standing.kind === 'paired') return false
    const attempts = standing.attempts + 1
    this.#standing = { ...standing, attempts }
    return attempts >= MAX_UNSURE_ATTEMPTS
  }

  #end(problem: RemoteError): void {
    if (this.#state.kind === 'ended') return
    this.#cancelPause()
    const line = this.#line
    this.#line = undefined
    this.#become({ kind: 'ended', problem })
    this.#abort.abort()
    line?.channel.close('done')
  }

  #become(state: RemoteState): void {
    this.#state = state
    for (const wake of this.#waiters) wake()
    this.#waiters.clear()
    this.#events.onState?.(state)
  }
}

interface LineEvents {
  /** @throws {NoiseError} when it breaks a rule */
  readonly onWelcome: (line: Line, welcome: Welcome) => void
  readonly onNote: (line: Line, note: Note) => void
  readonly onEnd: (line: Line, end: ChannelEnd) => void
}

/** One channel, from its handshake to its end. */
class Line {
  readonly channel: Channel
  /** What the owner compares. */
  readonly code: string
  readonly #streams: Streams
  readonly #clock: ClientClock
  readonly #events: LineEvents
  #isWelcome = false
  #openSince: number | undefined
  #cancelCheck = () => {}
  #way: Way | undefined
  #session: DeviceSession | undefined

  constructor(
    parts: {
      readonly met: Met
      readonly socket: PlaceSocket
      readonly clock: ClientClock
    } & LineEvents,
  ) {
    const { met, socket, clock } = parts
    this.#clock = clock
    this.#events = parts
    this.code = comparisonCode(met.handshakeHash)
    this.channel = new Channel({
      ...{ side: 'device', met, link: socket, clock: { now: () => clock.elapsed() } },
      events: {
        onRecord: (record) => this.#take(record),
        onEnd: (end) => this.#ended(end),
      },
    })
    this.#streams = new Streams(this.channel)
    socket.listen({
      onFrame: (frame) => this.channel.receive(frame),
      onClose: () => this.channel.linkClosed(),
    })
    this.#check(clock.elapsed() + WELCOME_MS)
  }

  /** How requests go out. Only after {@link begin}. */
  get way(): Way {
    if (this.#way === undefined) throw new RemoteError('not-open', 'the workspace was not met yet')
    return this.#way
  }

  /** The session of the device; undefined when no gateway is behind the channel. */
  get session(): DeviceSession | undefined {
    return this.#session
  }

  /** Whether it was open for long enough that the next pause may be a short one. */
  get wasStable(): boolean {
    return this.#openSince !== undefined && this.#clock.elapsed() - this.#openSince >= STABLE_MS
  }

  /** The workspace has welcomed, or approved, this device. */
  begin({ host, target }: PairedDevice): void {
    this.#openSince ??= this.#clock.elapsed()
    const open = (events: StreamEvents): Stream => this.#open(events)
    this.#way ??= { open, host, clock: this.#clock }
    if (target === 'gateway') this.#session ??= new DeviceSession(this.#way)
  }

  #open(events: StreamEvents): Stream {
    try {
      return this.#streams.open(events)
    } catch (cause) {
      throw new RemoteError('not-open', cause instanceof Error ? cause.message : 'no stream', {
        cause,
      })
    }
  }

  #take(record: ChannelRecord): void {
    if (record.type === RECORD.welcome) {
      if (this.#isWelcome) throw new NoiseError('the workspace welcomes twice')
      this.#isWelcome = true
      this.#events.onWelcome(this, decodeWelcome(record.body))
    } else if (!this.#isWelcome) throw new NoiseError('the workspace does not welcome first')
    else if (record.type === RECORD.note) this.#events.onNote(this, decodeNote(record.body))
    else if (!this.#streams.take(record)) throw new NoiseError('a record is not for a device')
  }

  #check(welcomeBy: number): void {
    this.#cancelCheck = this.#clock.after(CHECK_MS, () => {
      if (!this.#isWelcome && this.#clock.elapsed() >= welcomeBy)
        this.channel.close('protocol', 'no welcome came')
      else this.channel.check()
      if (this.channel.isOpen) this.#check(welcomeBy)
    })
  }

  #ended(end: ChannelEnd): void {
    this.#cancelCheck()
    this.#session?.forget()
    this.#streams.closeAll()
    this.#events.onEnd(this, end)
  }
}

function deviceIn(standing: Exclude<Standing, { kind: 'new' }>): PairedDevice {
  return standing.kind === 'paired' ? standing.device : standing.candidate
}

/** What the next attempt needs. @throws {RemoteError} `link-expired` */
async function planOf(
  standing: Standing,
  clock: ClientClock,
  isByOwnClock: boolean,
): Promise<Omit<MeetOptions, 'clock' | 'signal' | 'openSocket'>> {
  if (standing.kind === 'new') {
    const { offer, own, kind, name } = standing.pairing
    // Not by the time that the link says: a device whose clock is ahead could never pair. The workspace knows when its link is over.
    if (clock.elapsed() >= standing.until) throw new RemoteError('link-expired', LINK_IS_OVER)
    const { daemonKey, relay } = offer
    return { purpose: { kind: 'pair', offer }, own, daemonKey, relay, hello: { kind, name } }
  }
  const { daemonKey, own, relay, kind, name, placeSecret, clockOffset = 0 } = deviceIn(standing)
  const day = dayOf(clock.now() + (isByOwnClock ? 0 : clockOffset))
  const place = await placeId(await dayPlaceKey(placeSecret, day))
  return { purpose: { kind: 'session', place }, own, daemonKey, relay, hello: { kind, name } }
}

async function candidateOf(
  { offer, own, kind, name }: PairingOptions,
  { extraSecret }: Met,
  now: number,
): Promise<PairedDevice> {
  // The workspace has made the link, at most so long ago, and the handshake has shown that it is as it was made.
  const clockOffset = (offer.expiresAt - OFFER_SECONDS / 2) * 1000 - now
  return {
    ...(Math.abs(clockOffset) < TOLERATED_MS ? {} : { clockOffset }),
    ...{ daemonKey: offer.daemonKey, own, placeSecret: extraSecret, relay: offer.relay },
    ...{ host: '', target: 'gateway', kind, name, id: await deviceId(own.publicKey) },
  }
}

const LINK_IS_OVER =
  'the link is older than 10 minutes; make a new one with "workspace-gateway pair"'

function problemIn(state: RemoteState): RemoteError | undefined {
  return state.kind === 'connecting' ? state.problem : undefined
}

function asProblem(error: unknown): RemoteError {
  if (error instanceof RemoteError) return error
  const text = error instanceof Error ? error.message : String(error)
  return new RemoteError('bad-request', text, { cause: error })
}

/** How the end of a channel is told. */
function problemOfEnd(end: ChannelEnd): RemoteError {
  if (end.how === 'cut')
    return new RemoteError('cut', 'the relay, or the network, has cut the connection')
  const { reason, text } = end
  if (end.how === 'left')
    return new RemoteError('cut', text === '' ? 'the connection was closed' : text)
  switch (reason) {
    case 'revoked':
      return new RemoteError(
        'revoked',
        'the owner has removed this device; pair it again to come back',
      )
    case 'notApproved':
      return new RemoteError(
        'not-approved',
        'the owner has refused this device, or has not approved it in time',
      )
    case 'renew':
      return new RemoteError('restart', 'the connection was a day old')
    case 'restart':
      return new RemoteError('restart', 'the workspace restarts')
    case 'done':
    case 'protocol':
    case 'unknown':
    default:
      return new RemoteError('cut', 'the workspace has closed the connection')
  }
}

/** The problem with what to do about it, which depends on what this device knows. */
function explained(error: RemoteError, { kind }: Standing): RemoteError {
  if (error.problem !== 'nobody-there') return error
  const text =
    kind === 'paired'
      ? 'the workspace is not at the relay: its link does not run, the owner has removed this device, or this device’s date is wrong by more than a day, and was not when it was paired'
      : 'nobody answers for this link: it was used, is older than 10 minutes, or the workspace’s link was restarted; make a new one with "workspace-gateway pair"'
  return new RemoteError('nobody-there', text, { cause: error })
}
