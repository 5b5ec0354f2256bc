/**
 * What is a kept terminal? A shell at ttyd that has a client, or waits for one. It outlives the client's connection, and draws
 * its screen again for whoever comes back.
 */
import { randomBytes } from 'node:crypto'
import { FROM_CLIENT, FROM_TTYD, type TerminalEntry, type TerminalState } from '../protocol.ts'
import type { ClientLink } from './client-link.ts'
import { SecretDigest } from './digest.ts'
import { Holds } from './holds.ts'
import { OutputPace } from './pace.ts'
import { boundedSize, Screen, type Size } from './screen.ts'
import type { TtydLink } from './ttyd-link.ts'

/** A client that is this far behind is not sent its backlog (bytes). It gets the screen when it has caught up. */
const MAX_BEHIND_BYTES = 1024 * 1024

/** A client that is this near has caught up, in bytes. */
const CAUGHT_UP_BYTES = 128 * 1024

/** A new size reaches the shell when no other follows within this time, in milliseconds: each makes its program draw again. */
const RESIZE_MS = 60

/** The close code of the page's own end (RFC 6455 section 7.4.1): it was reloaded, or closed. Nobody can tell which. */
export const GOING_AWAY = 1001

/** The code that stops ttyd's page from connecting again at once: "Press ⏎ to Reconnect". */
export const NORMAL = 1000

/**
 * The longest title in the list, in characters. A shell may set one of megabytes, and the gateway would not read a list of that
 * size, by which it finds the terminals of sessions that have ended.
 */
const MAX_TITLE_LENGTH = 256

/** How long the gateway may take to close the socket of a session that is over, with a line for the person (milliseconds). */
const FAREWELL_MS = 1500

/** Whose terminal it is. */
export interface TerminalOwner {
  /** The session, and `sub`. */
  readonly sid: string
  readonly sub: string
  /** When the session ends, in milliseconds since 1970; Infinity for never. A renewal moves it. */
  ends: number
  readonly mark: string | undefined
}

/** How long a terminal waits for a client, in milliseconds. */
export interface ParkTimes {
  /** After the connection was lost. */
  readonly lostMs: number
  /** After the page went away. */
  readonly closedMs: number
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
  /** Called once, when the terminal has ended. */
  readonly onEnd: (terminal: KeptTerminal) => void
}

/** The first message of ttyd's page. */
export interface FirstMessage {
  readonly authToken: string
  readonly size: Size
}

/** A terminal. */
export class KeptTerminal {
  readonly id = randomBytes(12).toString('hex') // begins with no dash, which a command would take for an option
  readonly startedAt = Date.now()
  readonly owner: TerminalOwner | undefined
  readonly tab: string | undefined
  readonly password: SecretDigest
  /** The token of the first message that ttyd accepted; undefined until then. */
  authToken: SecretDigest | undefined
  readonly #ttyd: TtydLink
  readonly #parkTimes: ParkTimes
  readonly #onEnd: (terminal: KeptTerminal) => void
  readonly #screen: Screen
  readonly #holds: Holds
  readonly #pace: OutputPace
  #client: ClientLink | undefined
  #size: Size = { columns: 80, rows: 24 }
  #title: Buffer | undefined
  #preferences: Buffer | undefined
  /** Whether ttyd has accepted the client: it sends nothing before that. */
  #isAccepted = false
  /** Messages for a client that has asked for a pause (ttyd's PAUSE); undefined when it has not. */
  #paused: Buffer[] | undefined
  #pausedBytes = 0
  /** Whether the client gets no output, because it is behind or its screen is being drawn. Then it gets the screen. */
  #isSkipping = false
  #hasEnded = false
  #hasShellEnded = false
  /** Since when it has been attached, or parked, in milliseconds since 1970. */
  #since = Date.now()
  #parkedUntil = Infinity
  #resize: NodeJS.Timeout | undefined

  constructor({ owner, tab, ttyd, parkTimes, scrollback, password, onEnd }: TerminalOptions) {
    this.owner = owner
    this.tab = tab
    this.password = password
    this.#ttyd = ttyd
    this.#parkTimes = parkTimes
    this.#onEnd = onEnd
    this.#screen = new Screen(this.#size, scrollback)
    this.#screen.onAnswer = (text) => ttyd.send(Buffer.from(`0${text}`))
    this.#holds = new Holds((isHeld) => ttyd.hold(isHeld))
    this.#pace = new OutputPace((isHeld) => this.#holds.set('pace', isHeld))
    ttyd.listen({
      onMessage: (message) => this.#fromTtyd(message),
      onEnd: (code) => this.#onShellEnd(code),
      onDrain: () => this.#client?.holdInput(false),
    })
  }

  get state(): TerminalState {
    if (this.#client !== undefined) return 'attached'
    return this.#hasShellEnded ? 'exited' : 'parked'
  }

  /** Since when it has been parked, in milliseconds since 1970; undefined while it has a client. */
  get parkedSince(): number | undefined {
    return this.#client === undefined ? this.#since : undefined
  }

  /** About how much memory the screen takes, in bytes. */
  get screenBytes(): number {
    return this.#screen.bytes
  }

  /** Keeps fewer lines above the screen. */
  trimScreen(): void {
    this.#screen.trim()
  }

  get #titleText(): string {
    return this.#screen.title ?? this.#title?.subarray(1, MAX_TITLE_LENGTH).toString() ?? ''
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
      title: this.#titleText.slice(0, MAX_TITLE_LENGTH),
      ...this.#size,
      since: this.#since,
      parkedUntil: state === 'attached' ? undefined : this.#parkedUntil,
    }
  }

  /** Gives a new terminal its client. What the client sends and what ttyd answers passes as it is, until ttyd accepts it. */
  begin(client: ClientLink): void {
    this.#client = client
    client.listen({
      onMessage: (message) => this.#fromClient(client, message),
      onProgress: () => this.#onProgress(client),
      onEnd: (code) => this.#onClientEnd(client, code),
    })
  }

  /**
   * Gives the terminal to a client that came back. A client that has it now is closed with 1000: every other code makes ttyd's
   * page connect again at once, and two tabs would fight for ever.
   */
  attach(client: ClientLink, { size }: FirstMessage): void {
    const older = this.#client
    this.#client = undefined
    older?.close(NORMAL, 'continued elsewhere')
    this.#paused = undefined
    this.#since = Date.now()
    this.begin(client)
    this.#pace.reset()
    void this.#draw(client, size)
  }

  /** Ends the terminal, and its shell at ttyd. @param close how the client's connection is closed; it is left alone without */
  end(close?: { code: number; reason: string }): void {
    if (this.#hasEnded) return
    this.#hasEnded = true
    clearTimeout(this.#resize)
    this.#pace.stop()
    this.#ttyd.close()
    if (close !== undefined) this.#client?.close(close.code, close.reason)
    this.#screen.dispose()
    this.#onEnd(this)
  }

  /**
   * Ends the terminal because its session is over. The shell ends at once; the client's connection is left for some time to the
   * gateway, which says why in a last line.
   */
  endWithSession(): void {
    const client = this.#client
    this.end()
    if (client !== undefined)
      setTimeout(() => client.close(SESSION_OVER.code, SESSION_OVER.reason), FAREWELL_MS).unref()
  }

  /**
   * Ends what is over, and keeps connections alive. Call it about once a second.
   * @param now the monotonic clock in milliseconds
   * @param wallClock milliseconds since 1970
   */
  check(now: number, wallClock: number): void {
    if (this.owner !== undefined && wallClock >= this.owner.ends) this.endWithSession()
    else if (this.#client === undefined && wallClock >= this.#parkedUntil) this.end()
    else {
      this.#client?.check(now)
      if (this.#holds.isHeld) this.#ttyd.reassure()
    }
  }

  #fromTtyd(message: Buffer): void {
    if (this.#hasEnded) return
    this.#isAccepted = true
    switch (message[0]) {
      case FROM_TTYD.output:
        this.#output(message)
        return
      case FROM_TTYD.title:
        this.#title = message
        break
      case FROM_TTYD.preferences:
        this.#preferences = message
        break
      default:
      // A newer ttyd may say more, which the page may understand.
    }
    if (!this.#isSkipping) this.#send(message)
  }

  #output(message: Buffer): void {
    const isSeen = this.#client !== undefined && !this.#isSkipping
    // Questions in what no client gets are answered here, once; what a client gets is the client's to answer.
    this.#screen.write(message.subarray(1), !isSeen)
    if (this.#screen.isBehind) this.#waitForParser()
    if (isSeen) this.#send(message)
    else this.#pace.count(message.length)
  }

  #send(message: Buffer): void {
    const client = this.#client
    if (client === undefined) return
    if (this.#paused === undefined) {
      client.send(message)
      if (client.waitingBytes > MAX_BEHIND_BYTES) this.#isSkipping = true
      return
    }
    this.#paused.push(message)
    this.#pausedBytes += message.length
    if (this.#pausedBytes > MAX_BEHIND_BYTES) this.#skipPaused()
  }

  /** Drops what a paused client has not got. It gets the screen instead, once it goes on. */
  #skipPaused(): void {
    this.#isSkipping = true
    this.#paused = []
    this.#pausedBytes = 0
  }

  #waitForParser(): void {
    this.#holds.set('parser', true)
    void this.#screen.parsed().then(() => this.#holds.set('parser', false))
  }

  /** Goes on with a client that has caught up. */
  #onProgress(client: ClientLink): void {
    if (client !== this.#client || !this.#isSkipping || this.#paused !== undefined) return
    if (client.waitingBytes <= CAUGHT_UP_BYTES && !this.#holds.has('drawing'))
      void this.#draw(client)
  }

  /** Sends a client the screen, and from then on what follows. @param size of its window, when that is new */
  async #draw(client: ClientLink, size?: Size): Promise<void> {
    this.#isSkipping = true
    this.#holds.set('drawing', true)
    try {
      if (size !== undefined) await this.#screen.resize(size)
      await this.#screen.parsed()
      if (client !== this.#client || this.#hasEnded) return
      for (const message of [this.#title, this.#preferences])
        if (size !== undefined && message !== undefined) client.send(message)
      client.send(Buffer.concat([OUTPUT, this.#screen.snapshot()]))
      this.#isSkipping = false
      this.#pace.reset()
      if (size !== undefined) this.#resizeTo(size)
      if (this.#hasShellEnded) this.#sayFarewell(client)
    } finally {
      if (client === this.#client || this.#client === undefined) this.#holds.set('drawing', false)
    }
  }

  /** A shell that ended while nobody was there: its last screen was drawn, and this is the last line. */
  #sayFarewell(client: ClientLink): void {
    client.send(Buffer.from(`0\r\n${SHELL_ENDED_LINE}\r\n`))
    this.end({ code: NORMAL, reason: 'the shell has ended' })
  }

  #fromClient(client: ClientLink, message: Buffer): void {
    if (client !== this.#client || this.#hasEnded) return
    switch (message[0]) {
      case FROM_CLIENT.resize: {
        const size = sizeIn(message.subarray(1))
        if (size === undefined) break
        void this.#screen.resize(size)
        this.#resizeTo(size)
        return
      }
      case FROM_CLIENT.pause:
        this.#paused ??= []
        return
      case FROM_CLIENT.resume:
        this.#resume(client)
        return
      default:
    }
    if (this.authToken === undefined) {
      const first = firstMessageIn(message)
      if (first !== undefined) {
        this.authToken = new SecretDigest(first.authToken)
        this.#size = boundedSize(first.size)
        void this.#screen.resize(this.#size)
        message = withSize(message, this.#size)
      }
    }
    if (!this.#ttyd.send(message)) client.holdInput(true)
  }

  #resume(client: ClientLink): void {
    const messages = this.#paused ?? []
    this.#paused = undefined
    this.#pausedBytes = 0
    if (this.#isSkipping) this.#onProgress(client)
    else for (const message of messages) this.#send(message)
  }

  /** Tells ttyd a size, once no other has come for a moment. */
  #resizeTo(size: Size): void {
    const next = boundedSize(size)
    if (next.columns === this.#size.columns && next.rows === this.#size.rows) return
    this.#size = next
    clearTimeout(this.#resize)
    this.#resize = setTimeout(() => {
      this.#ttyd.send(Buffer.from(`1${JSON.stringify(next)}`))
    }, RESIZE_MS)
  }

  #onClientEnd(client: ClientLink, code: number): void {
    if (client !== this.#client || this.#hasEnded) return
    const { lostMs, closedMs } = this.#parkTimes
    const parkMs = code === GOING_AWAY ? closedMs : lostMs
    if (!this.#isAccepted || this.tab === undefined || parkMs === 0 || this.#hasShellEnded) {
      this.end()
      return
    }
    this.#client = undefined
    this.#paused = undefined
    this.#isSkipping = false
    this.#since = Date.now()
    this.#parkedUntil = this.#since + parkMs
    this.#holds.set('drawing', false)
  }

  #onShellEnd(code: number): void {
    if (this.#hasEnded) return
    this.#hasShellEnded = true
    const client = this.#client
    if (client === undefined) return // its last screen waits for the client
    // Before ttyd has accepted the client, its refusal passes as it is (1008).
    const isRefusal = !this.#isAccepted && code >= 1007 && code <= 4999
    if (this.#isSkipping) void this.#drawLast(client)
    else this.end({ code: isRefusal ? code : NORMAL, reason: 'the shell has ended' })
  }

  /** The last output before a shell ended is shown to a client that was behind. */
  async #drawLast(client: ClientLink): Promise<void> {
    await this.#screen.parsed()
    if (client !== this.#client || this.#hasEnded) return
    client.send(Buffer.concat([OUTPUT, this.#screen.snapshot()]))
    this.end({ code: NORMAL, reason: 'the shell has ended' })
  }
}

const OUTPUT = Buffer.of(FROM_TTYD.output)

/** What the person reads who comes back to a shell that has ended. */
const SHELL_ENDED_LINE = 'This shell ended while you were away.'

/** The close of a terminal whose session is over. The gateway closes the socket itself, with the same code and a line before it. */
const SESSION_OVER = { code: 4401, reason: 'session ended' }

/** The first message of ttyd's page; undefined for any other message. */
export function firstMessageIn(message: Buffer): FirstMessage | undefined {
  if (message[0] !== OPENING_BRACE) return undefined
  const object = objectIn(message)
  if (object === undefined) return undefined
  const token = object['AuthToken']
  return {
    authToken: typeof token === 'string' ? token : '',
    size: sizeFrom(object) ?? { columns: 80, rows: 24 },
  }
}

const OPENING_BRACE = 0x7b

/** The first message with another size: the shell must not have a larger one than its screen here. */
function withSize(message: Buffer, size: Size): Buffer {
  const object = objectIn(message)
  return object === undefined ? message : Buffer.from(JSON.stringify({ ...object, ...size }))
}

function sizeIn(text: Buffer): Size | undefined {
  const object = objectIn(text)
  return object === undefined ? undefined : sizeFrom(object)
}

function sizeFrom({ columns, rows }: Record<string, unknown>): Size | undefined {
  return isCount(columns) && isCount(rows) ? boundedSize({ columns, rows }) : undefined
}

function isCount(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 1
}

/** The largest message that is read as JSON, in bytes. */
const MAX_JSON_BYTES = 64 * 1024

function objectIn(text: Buffer): Record<string, unknown> | undefined {
  if (text.length > MAX_JSON_BYTES) return undefined
  try {
    const value: unknown = JSON.parse(text.toString())
    return typeof value === 'object' && value !== null
      ? (value as Record<string, unknown>)
      : undefined
  } catch {
    return undefined
  }
}
