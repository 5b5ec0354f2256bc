/**
 * What is a kept terminal? A shell at ttyd that has a client, or waits for one. It outlives the client's connection, and draws
 * its screen again for whoever comes back.
 */
import { randomBytes } from 'node:crypto'
import { RESTARTING, SESSION_ENDED, type CloseReason } from '../../answers/close-reasons.ts'
import {
  FROM_CLIENT,
  FROM_TTYD,
  NOT_AUTHENTICATED,
  type TerminalEntry,
  type TerminalState,
} from '../protocol.ts'
import { Attendance } from './attendance.ts'
import { ClientFeed } from './client-feed.ts'
import type { ClientLink } from './client-link.ts'
import type { KeeperClock } from './clock.ts'
import { SecretDigest } from './digest.ts'
import { Holds } from './holds.ts'
import { OutputPace } from './pace.ts'
import { Screen, type Size } from './screen.ts'
import { ShellSize } from './shell-size.ts'
import { CANCEL, Transfer } from './transfer.ts'
import type { TtydLink } from './ttyd-link.ts'
import {
  DEFAULT_SIZE,
  firstMessageIn,
  outputOf,
  sizeIn,
  withSize,
  type FirstMessage,
  unicodeVersionIn,
} from './ttyd-messages.ts'

/** A page that has not said its first message after this time, in milliseconds, has no shell yet, and gets none. */
const FIRST_MESSAGE_MS = 10_000

/** The close code of the page's own end (RFC 6455 section 7.4.1): it was reloaded, or closed. Nobody can tell which. */
const GOING_AWAY = 1001

/** The code that stops ttyd's page from connecting again at once: "Press ⏎ to Reconnect". */
const NORMAL = 1000

/** How long the gateway may take to close the socket of a session that is over, with a line for the person (milliseconds). */
const FAREWELL_MS = 1500

/** What the person reads who comes back to a shell that has ended. */
const SHELL_ENDED_LINE = 'This shell ended while you were away.'

/** What the person reads whose transfer was cut off. */
const TRANSFER_CUT_LINE =
  'The file transfer was cut off with the connection. Please start it again.'

/** A title or preferences that are longer are not sent again to a client that comes back (bytes). */
const MAX_REMEMBERED_BYTES = 64 * 1024

/** The longest title in the list, in characters. A program may set one of any length, and the gateway reads the list. */
const MAX_TITLE_LENGTH = 256

/** Why a terminal has ended, in the words of the log. */
export type EndReason =
  | 'the shell ended'
  | 'its session ended'
  | 'its owner ended it'
  | 'nobody came back'
  | 'its connection ended' // and it is not kept
  | 'another terminal needed its place'
  | 'parked terminals took too much memory'
  | 'the keeper stops'

/** Whose terminal it is. */
export interface TerminalOwner {
  /** The session, and `sub`. */
  readonly sid: string
  readonly sub: string
  /** When the session ends, in milliseconds since 1970; Infinity for never. A renewal moves it. */
  ends: number
  mark: string | undefined
}

/** How long a terminal waits for a client, in milliseconds. */
export interface ParkTimes {
  /** After the connection was lost. */
  readonly lostMs: number
  /** After the page went away. */
  readonly closedMs: number
}

/** What a terminal tells its keeper. */
export interface TerminalEvents {
  /** Called once, when the terminal has ended. */
  readonly onEnd: (terminal: KeptTerminal, reason: EndReason) => void
  /** The connection has ended, and the terminal waits. @param code of the connection's close (RFC 6455 section 7.4) */
  readonly onParked: (terminal: KeptTerminal, code: number, parkMs: number) => void
  /** The shell has ended while nobody was there. */
  readonly onExited: (terminal: KeptTerminal) => void
  /** Something failed that should not; the terminal goes on. */
  readonly onFault: (terminal: KeptTerminal, error: unknown) => void
}

/** What a terminal needs. */
export interface TerminalOptions {
  readonly owner: TerminalOwner | undefined
  /** The tab; undefined for a terminal that ends with its connection. */
  readonly tab: string | undefined
  readonly ttyd: TtydLink
  readonly parkTimes: ParkTimes
  /** Lines above the screen that are kept. */
  readonly scrollback: number
  /** The password of the handshake that ttyd accepted. */
  readonly password: SecretDigest
  readonly clock: KeeperClock
  readonly events: TerminalEvents
}

/** A terminal. */
export class KeptTerminal {
  readonly id = randomBytes(12).toString('hex') // begins with no dash, which a command would take for an option
  readonly startedAt: number
  readonly owner: TerminalOwner | undefined
  readonly tab: string | undefined
  readonly password: SecretDigest
  readonly #ttyd: TtydLink
  readonly #parkTimes: ParkTimes
  readonly #clock: KeeperClock
  readonly #events: TerminalEvents
  readonly #screen: Screen
  readonly #holds: Holds
  readonly #pace: OutputPace
  readonly #transfer: Transfer
  readonly #size: ShellSize
  readonly #attendance: Attendance
  /** Whether a transfer was cut off, which the page of the client that comes back may not know. */
  #wasTransferCut = false
  /** The token of the first message; undefined until then. */
  #authToken: SecretDigest | undefined
  /** Whether ttyd has accepted the token: it sends nothing before that. */
  #isAccepted = false
  #feed: ClientFeed | undefined
  #title: Buffer | undefined
  #preferences: Buffer | undefined
  #hasEnded = false
  #hasShellEnded = false

  constructor(options: TerminalOptions) {
    const { owner, tab, ttyd, parkTimes, scrollback, password, clock, events } = options
    this.owner = owner
    this.tab = tab
    this.password = password
    this.#ttyd = ttyd
    this.#parkTimes = parkTimes
    this.#clock = clock
    this.#events = events
    this.startedAt = clock.wall()
    this.#attendance = new Attendance(clock)
    this.#screen = new Screen(DEFAULT_SIZE, scrollback)
    this.#size = new ShellSize({
      ...{ screen: this.#screen, ttyd },
      onFault: (error) => events.onFault(this, error),
    })
    this.#screen.onAnswer = (text) => ttyd.send(Buffer.from(`0${text}`))
    this.#holds = new Holds((isHeld) => ttyd.hold(isHeld))
    this.#pace = new OutputPace((isHeld) => this.#holds.set('pace', isHeld))
    this.#transfer = new Transfer({ clock, onText: (text) => this.#output(outputOf(text)) })
    ttyd.listen({
      onMessage: (message) => this.#fromTtyd(message),
      onEnd: (code) => void this.#onShellEnd(code),
      onDrain: () => this.#feed?.client.holdInput(false),
    })
  }

  get state(): TerminalState {
    if (this.#feed !== undefined) return 'attached'
    return this.#hasShellEnded ? 'exited' : 'parked'
  }

  /** For how long it has been parked, in milliseconds; undefined while it has a client. */
  get parkedForMs(): number | undefined {
    return this.#feed === undefined ? this.#attendance.forMs : undefined
  }

  /** About how much memory the screen takes, in bytes. */
  get screenBytes(): number {
    return this.#screen.bytes
  }

  /** How much of that is output that waits to be parsed, and will be gone soon. */
  get unparsedBytes(): number {
    return this.#screen.unparsedBytes
  }

  /** How much input waits for ttyd, in bytes. */
  get unreadInputBytes(): number {
    return this.#ttyd.unreadBytes
  }

  /** Keeps fewer lines above the screen. */
  trimScreen(): void {
    this.#screen.trim()
  }

  /** Whether a client with this password may come back to it, if its token is right too. */
  admits(password: string): boolean {
    return this.#authToken !== undefined && this.#isAccepted && this.password.matches(password)
  }

  /** As the list shows it. */
  entry(): TerminalEntry {
    const { owner, tab, id, state, startedAt } = this
    return {
      ...{ id, state, tab, startedAt },
      sid: owner?.sid,
      sub: owner?.sub,
      ends: owner === undefined || owner.ends === Infinity ? undefined : owner.ends,
      mark: owner?.mark,
      title: this.#titleText(),
      ...this.#size.current,
      since: this.#attendance.since,
      parkedUntil: state === 'attached' ? undefined : this.#attendance.parkedUntil,
    }
  }

  /** Gives a new terminal its client. What the client sends and what ttyd answers passes as it is, until ttyd accepts it. */
  begin(client: ClientLink): void {
    this.#listenTo(client, this.#size.current)
  }

  /**
   * Gives the terminal to a client that came back. A client that has it now is closed with 1000: every other code makes ttyd's
   * page connect again at once, and two tabs would fight for ever.
   * @returns `refused` when the token is not the one that ttyd accepted, and nothing happens; `ended` when there is no shell any
   * more, and the client is told to ask for a new one
   */
  attach(client: ClientLink, { authToken, size }: FirstMessage): 'attached' | 'ended' | 'refused' {
    if (this.#authToken?.matches(authToken) !== true) return 'refused'
    if (this.#hasEnded) {
      client.close(RESTARTING.code, 'the terminal has ended') // between the handshake and this message; the page gets a new shell
      return 'ended'
    }
    this.#feed?.stop()
    this.#feed?.client.close(NORMAL, 'continued elsewhere')
    this.#cutTransfer()
    this.#attendance.come()
    this.#pace.reset()
    const feed = this.#listenTo(client, size)
    if (!this.#ttyd.hasRoom) client.holdInput(true)
    void this.#show(feed)
    return 'attached'
  }

  /** Notes what the gateway says now of the session: it may have been renewed. */
  renew({ ends, mark }: Pick<TerminalOwner, 'ends' | 'mark'>): void {
    if (this.owner === undefined) return
    this.owner.ends = ends
    this.owner.mark = mark
  }

  /** Ends the terminal, and its shell at ttyd. @param close how the client's connection is closed; it is left alone without */
  end(reason: EndReason, close?: CloseReason): void {
    if (this.#hasEnded) return
    this.#hasEnded = true
    this.#size.stop()
    this.#pace.stop()
    this.#transfer.stop()
    this.#ttyd.close()
    this.#feed?.stop()
    if (close !== undefined) this.#feed?.client.close(close.code, close.reason)
    this.#screen.dispose()
    this.#events.onEnd(this, reason)
  }

  /** Ends the terminal because its owner wants it. */
  endForOwner(): void {
    this.end('its owner ended it', { code: NORMAL, reason: 'ended by its owner' })
  }

  /** Ends the terminal because the keeper stops, and says so in a last line. */
  endForStop(): void {
    this.#feed?.client.send(line('The keeper of terminals restarts, and this shell ends with it.'))
    this.end('the keeper stops', RESTARTING)
  }

  /**
   * Ends the terminal because its session is over. The shell ends at once; the client's connection is left for some time to the
   * gateway, which says why in a last line.
   */
  endForSession(): void {
    const client = this.#feed?.client
    this.end('its session ended')
    if (client !== undefined)
      setTimeout(() => client.close(SESSION_ENDED.code, SESSION_ENDED.reason), FAREWELL_MS).unref()
  }

  /** Ends what is over, and keeps connections alive. Call it about twice a second. */
  check(): void {
    const now = this.#clock.elapsed()
    if (this.owner !== undefined && this.#clock.wall() >= this.owner.ends) this.endForSession()
    else if (this.#feed === undefined && this.#attendance.isOver) this.end('nobody came back')
    else {
      if (!this.#isAccepted && this.#attendance.forMs >= FIRST_MESSAGE_MS)
        this.#feed?.client.close(NOT_AUTHENTICATED, 'nothing was said')
      this.#feed?.client.check(now)
      this.#transfer.check(this.#holds.isHeld)
      if (this.#holds.isHeld) this.#ttyd.reassure()
    }
  }

  #listenTo(client: ClientLink, size: Size): ClientFeed {
    const feed = new ClientFeed(client, {
      ...{ screen: this.#screen, holds: this.#holds, size },
      onFault: (error) => this.#events.onFault(this, error),
    })
    this.#feed = feed
    client.listen({
      onMessage: (message) => this.#fromClient(feed, message),
      onProgress: () => feed.progress(),
      onEnd: (code) => this.#onClientEnd(feed, code),
    })
    return feed
  }

  /** Draws the screen for a client that came back. */
  async #show(feed: ClientFeed): Promise<void> {
    const cancel = this.#wasTransferCut ? outputOf(CANCEL) : undefined
    await feed.draw(
      [cancel, this.#title, this.#preferences].filter((message) => message !== undefined),
    )
    if (feed !== this.#feed || this.#hasEnded) return
    this.#wasTransferCut = false
    this.#pace.reset()
    this.#size.change(feed.size)
    if (!this.#hasShellEnded) return
    feed.client.send(line(SHELL_ENDED_LINE))
    feed.client.close(NORMAL, 'the shell has ended')
  }

  #prefer(preferences: Buffer): void {
    this.#preferences = preferences
    this.#screen.setUnicodeVersion(unicodeVersionIn(preferences.subarray(1)))
  }

  #fromTtyd(message: Buffer): void {
    if (this.#hasEnded) return
    this.#isAccepted = true
    if (message[0] === FROM_TTYD.output) this.#output(message)
    else {
      const isSmall = message.length <= MAX_REMEMBERED_BYTES
      if (message[0] === FROM_TTYD.title && isSmall) this.#title = message
      if (message[0] === FROM_TTYD.preferences && isSmall) this.#prefer(message)
      this.#feed?.send(message) // a newer ttyd may say more, which the page may understand
    }
  }

  #output(message: Buffer): void {
    const isSeen = this.#feed?.isLive === true && !this.#transfer.isDropping
    const output = message.subarray(1)
    const text = this.#transfer.isActive ? this.#transfer.fromShell(output) : output
    if (text.length > 0) {
      // Questions in what no client gets are answered here, once; what a client gets is the client's to answer.
      this.#screen.write(text, !isSeen)
      if (this.#screen.isBehind) this.#waitForParser()
    }
    if (isSeen) this.#feed?.send(message, this.#transfer.isOn)
    else this.#pace.count(message.length)
  }

  /** The client is gone. A program that sends or gets a file is told, since it would wait for the client. */
  #cutTransfer(): void {
    const cancel = this.#transfer.cut()
    if (cancel === undefined) return
    this.#wasTransferCut = true
    this.#ttyd.send(Buffer.concat([INPUT, cancel]))
    this.#screen.write(line(TRANSFER_CUT_LINE).subarray(1), false)
  }

  #waitForParser(): void {
    this.#holds.set('parser', true)
    void this.#screen
      .parsed()
      .catch((error: unknown) => this.#events.onFault(this, error))
      .then(() => this.#holds.set('parser', false))
  }

  #fromClient(feed: ClientFeed, message: Buffer): void {
    if (feed !== this.#feed || this.#hasEnded) return
    switch (message[0]) {
      case FROM_CLIENT.resize: {
        const size = sizeIn(message.subarray(1))
        if (size === undefined) break // ttyd decides what that means
        feed.size = size
        this.#size.change(size)
        return
      }
      case FROM_CLIENT.pause:
        feed.pause()
        return
      case FROM_CLIENT.resume:
        feed.resume()
        return
      case undefined:
      default:
    }
    if (message[0] === FROM_CLIENT.input) this.#transfer.fromClient(message.subarray(1))
    const isNew = this.#authToken === undefined
    const hasRoom = this.#ttyd.send(isNew ? this.#withFirst(feed, message) : message)
    if (!hasRoom) feed.client.holdInput(true)
  }

  /** Notes token and size, if this is the first message. @returns the message for ttyd */
  #withFirst(feed: ClientFeed, message: Buffer): Buffer {
    const first = firstMessageIn(message)
    if (first === undefined) return message
    this.#authToken = new SecretDigest(first.authToken)
    feed.size = first.size
    this.#size.begin(first.size)
    return withSize(message, first.size)
  }

  #onClientEnd(feed: ClientFeed, code: number): void {
    if (feed !== this.#feed || this.#hasEnded) return
    feed.stop()
    const { lostMs, closedMs } = this.#parkTimes
    const parkMs = code === GOING_AWAY ? closedMs : lostMs
    const isKept = this.tab !== undefined && this.#isAccepted && this.#authToken !== undefined
    // A client that answers the close has read the last output of its shell. One that was cut off has not.
    if (this.#hasShellEnded && (code === NORMAL || !isKept || parkMs === 0))
      this.end('the shell ended')
    else if (!isKept || parkMs === 0) this.end('its connection ended')
    else {
      this.#feed = undefined
      this.#cutTransfer()
      this.#attendance.leave(parkMs)
      this.#events.onParked(this, code, parkMs)
    }
  }

  async #onShellEnd(code: number): Promise<void> {
    if (this.#hasEnded) return
    this.#hasShellEnded = true
    const feed = this.#feed
    if (feed === undefined) {
      this.#events.onExited(this) // its last screen waits for the client
      return
    }
    await feed.finish()
    if (feed !== this.#feed || this.#hasEnded) return
    // ttyd's refusal passes as it is. After any other code but 1000 the page would open one new shell after the other.
    const isRefusal = !this.#isAccepted && code === NOT_AUTHENTICATED
    feed.client.close(isRefusal ? code : NORMAL, 'the shell has ended')
  }

  /** The title as programs set it, or as ttyd did. */
  #titleText(): string {
    const title = this.#screen.title ?? this.#title?.subarray(1).toString() ?? ''
    return title.slice(0, MAX_TITLE_LENGTH).toWellFormed()
  }
}

/** A line of the keeper's own, as output. */
function line(text: string): Buffer {
  return outputOf(Buffer.from(`\r\n${text}\r\n`))
}

const INPUT = Buffer.of(FROM_CLIENT.input)
