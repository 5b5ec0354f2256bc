/**
 * What is one client sent? The shell's output as it comes; and the screen as it is now, instead of the output before, when the
 * client has come back or has fallen behind.
 */
import { FROM_TTYD } from '../protocol.ts'
import { MESSAGE_BYTES, type ClientLink } from './client-link.ts'
import type { Holds } from './holds.ts'
import type { Screen, Size } from './screen.ts'
import { outputOf } from './ttyd-messages.ts'
import { ownTurn } from './turns.ts'

/** How much waits for a client that has asked for a pause, in bytes. Then it gets the screen. */
const MAX_PAUSED_BYTES = 1024 * 1024

/** How much of what is no output waits until the screen is drawn, in bytes. */
const MAX_OTHERS_BYTES = 64 * 1024

/** What a client gets its output from. */
export interface FeedSource {
  readonly screen: Screen
  readonly holds: Holds
  /** The size of the client's window. */
  readonly size: Size
  /** Called with an error when a screen could not be drawn. */
  readonly onFault: (error: unknown) => void
}

/** What is sent to one client. */
export class ClientFeed {
  readonly client: ClientLink
  /** The size of the client's window. A screen is drawn for it. */
  size: Size
  readonly #screen: Screen
  readonly #holds: Holds
  readonly #onFault: (error: unknown) => void
  /**
   * `live`: output is sent. `behind`: it is not, and the screen follows when the client has caught up. `drawing`: the screen is
   * prepared. `stopped`: the client has lost the terminal.
   */
  #state: 'live' | 'behind' | 'drawing' | 'stopped' = 'live'
  #drawn: Promise<void> = Promise.resolve()
  /** Messages for a client that has asked for a pause (ttyd's PAUSE); undefined when it has not. */
  #paused: Buffer[] | undefined
  #pausedBytes = 0
  /** What is no output, and came while no output was sent. */
  #others: Buffer[] = []
  #othersBytes = 0

  constructor(client: ClientLink, { screen, holds, size, onFault }: FeedSource) {
    this.client = client
    this.size = size
    this.#screen = screen
    this.#holds = holds
    this.#onFault = onFault
  }

  /** Whether output is sent to the client as it comes. The client then answers what programs ask their terminal. */
  get isLive(): boolean {
    return this.#state === 'live'
  }

  /**
   * Sends a message of ttyd, unless the client gets the screen instead.
   * @param isNeeded whether a client that is live must get it: the shell is made to wait for a slow client
   */
  send(message: Buffer, isNeeded = false): void {
    if (this.#state !== 'live') this.#keepOther(message)
    else if (this.#paused === undefined) {
      this.client.send(message)
      if (this.client.isBehind) this.#onBehind(isNeeded)
    } else {
      this.#paused.push(message)
      this.#pausedBytes += message.length + MESSAGE_BYTES
      if (this.#pausedBytes > MAX_PAUSED_BYTES) this.#onBehind(isNeeded)
    }
  }

  /** Sends nothing until {@link resume}, because the client has asked for it. */
  pause(): void {
    this.#paused ??= []
  }

  /** Goes on after {@link pause}. */
  resume(): void {
    const messages = this.#paused ?? []
    this.#paused = undefined
    this.#pausedBytes = 0
    const isNeeded = this.#holds.has('transfer')
    this.progress()
    for (const message of messages) this.send(message, isNeeded)
  }

  /** The client has handled more of what was sent: one that was behind may have caught up. */
  progress(): void {
    if (this.#paused !== undefined || !this.client.hasCaughtUp) return
    this.#holds.set('transfer', false)
    if (this.#state === 'behind') void this.draw()
  }

  /**
   * Sends the screen, and from then on what follows.
   * @param before messages that are sent first
   * @returns resolves when the screen was sent, or the client has lost the terminal
   */
  draw(before: readonly Buffer[] = []): Promise<void> {
    this.#state = 'drawing'
    this.#holds.set('drawing', true)
    this.#drawn = this.#draw(before)
    return this.#drawn
  }

  /** Sends everything that the shell printed before it ended, or the screen. */
  async finish(): Promise<void> {
    this.resume()
    if (this.#state === 'behind') void this.draw()
    await this.#drawn
  }

  /** Sends nothing more. */
  stop(): void {
    if (this.#state === 'drawing') this.#holds.set('drawing', false)
    this.#holds.set('transfer', false)
    this.#state = 'stopped'
    this.#paused = undefined
    this.#others = []
  }

  async #draw(before: readonly Buffer[]): Promise<void> {
    try {
      await this.#screen.resize(this.size)
      do {
        await ownTurn()
        await this.#screen.parsed()
      } while (this.#screen.unparsedBytes > 0) // output may arrive between the promise and this line
    } catch (error) {
      this.#onFault(error)
    }
    if (this.#state !== 'drawing') return
    for (const message of before) this.client.send(message)
    this.client.send(outputOf(this.#snapshot()))
    this.#state = 'live'
    this.#holds.set('drawing', false)
    const others = this.#others
    this.#others = []
    this.#othersBytes = 0
    for (const message of others) this.send(message)
  }

  /** The screen; an empty one when it cannot be drawn, so that the shell can be used all the same. */
  #snapshot(): Buffer {
    try {
      return this.#screen.snapshot()
    } catch (error) {
      this.#onFault(error)
      return Buffer.from('\x1bc')
    }
  }

  #onBehind(isNeeded: boolean): void {
    if (isNeeded) this.#holds.set('transfer', true)
    else if (this.#paused === undefined) this.#state = 'behind'
    else this.#fallBehind()
  }

  /** Drops what a paused client has not got. It gets the screen instead, once it goes on. */
  #fallBehind(): void {
    const messages = this.#paused ?? []
    this.#state = 'behind'
    this.#paused = []
    this.#pausedBytes = 0
    for (const message of messages) this.#keepOther(message)
  }

  #keepOther(message: Buffer): void {
    if (this.#state === 'stopped' || message[0] === FROM_TTYD.output) return
    if (this.#othersBytes + message.length > MAX_OTHERS_BYTES) return
    this.#others.push(message)
    this.#othersBytes += message.length + MESSAGE_BYTES
  }
}
