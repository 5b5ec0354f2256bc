/** Which terminals are there? All of the keeper's, with their bounds: how many, how much memory, and how long. */
import type { TerminalEntry } from '../protocol.ts'
import type { KeptTerminal, TerminalOwner } from './terminal.ts'
import { MAX_BYTES } from './unfinished-messages.ts'

/** How much the keeper takes on. */
export interface TerminalBounds {
  /** Terminals in all, and of one session. */
  readonly terminals: number
  readonly perSession: number
  /** Memory that the screens of parked terminals take together, in bytes. */
  readonly parkedBytes: number
  /** Memory that messages take together that clients have begun and not ended, or that ttyd has not read, in bytes. */
  readonly unfinishedBytes: number
}

export const BOUNDS: TerminalBounds = {
  terminals: 64,
  perSession: 16,
  parkedBytes: 64 * 1024 * 1024,
  unfinishedBytes: MAX_BYTES,
}

/** The place of a terminal that ttyd has not accepted yet. */
export interface Place {
  /**
   * Makes room now that ttyd has accepted the handshake: at a cap the terminal that has been parked longest ends. Not before,
   * because who does not know ttyd's password must not end anybody's terminal.
   * @returns false when all the others have been attached meanwhile
   */
  readonly makeRoom: () => boolean
  /** Gives the place back; the terminal that was added needs none. */
  readonly release: () => void
}

/** Every terminal. */
export class Terminals {
  readonly bounds: TerminalBounds
  readonly #terminals = new Set<KeptTerminal>()
  /** Places of handshakes that ttyd has not answered yet, by session. */
  readonly #reserved = new Map<symbol, string | undefined>()
  #isClosed = false

  constructor(bounds: TerminalBounds = BOUNDS) {
    this.bounds = bounds
  }

  get size(): number {
    return this.#terminals.size
  }

  /** Whether the keeper stops, and takes no others. */
  get isClosed(): boolean {
    return this.#isClosed
  }

  /** How many are attached, and how many parked. */
  counts(): { attached: number; parked: number } {
    const attached = this.#all(isAttached).length
    return { attached, parked: this.#terminals.size - attached }
  }

  /** About how much memory the screens of parked terminals take, in bytes, without output that is about to be parsed. */
  get parkedBytes(): number {
    return this.#all(isParked).reduce((sum, terminal) => sum + screenBytes(terminal), 0)
  }

  /** How much input ttyd has not read yet, in bytes. */
  get unreadInputBytes(): number {
    let bytes = 0
    for (const terminal of this.#terminals) bytes += terminal.unreadInputBytes
    return bytes
  }

  list(): TerminalEntry[] {
    return Array.from(this.#terminals, (terminal) => terminal.entry())
  }

  /**
   * The terminal to which a client comes back; undefined when there is none. Another session, another person, and who has another
   * password never get it.
   */
  find({ sid, sub }: TerminalOwner, tab: string, password: string): KeptTerminal | undefined {
    return this.#all(
      ({ owner, tab: its }) => its === tab && owner?.sid === sid && owner.sub === sub,
    ).find((terminal) => terminal.admits(password))
  }

  /**
   * Reserves a place before ttyd is asked, so that a burst of handshakes cannot pass the caps.
   * @returns undefined when all terminals are attached, or the keeper stops
   */
  reserve(sid: string | undefined): Place | undefined {
    const { terminals, perSession } = this.bounds
    const reserved = [...this.#reserved.values()]
    const taken = this.#all(isAttached).length + reserved.length
    const takenInSession =
      this.#ofSession(sid).filter(isAttached).length + reserved.filter((one) => one === sid).length
    if (this.#isClosed || taken >= terminals) return undefined
    if (sid !== undefined && takenInSession >= perSession) return undefined
    const place = Symbol('place')
    this.#reserved.set(place, sid)
    return {
      makeRoom: () => this.#makeRoom(sid),
      release: () => void this.#reserved.delete(place),
    }
  }

  add(terminal: KeptTerminal): void {
    this.#terminals.add(terminal)
  }

  delete(terminal: KeptTerminal): void {
    this.#terminals.delete(terminal)
  }

  /** Ends one terminal. @returns whether it was there */
  end(id: string): boolean {
    const [terminal] = this.#all((one) => one.id === id)
    terminal?.endForOwner()
    return terminal !== undefined
  }

  /** Ends the terminals of a session. @returns how many */
  endSession(sid: string): number {
    const ended = this.#ofSession(sid)
    for (const terminal of ended) terminal.endForSession()
    return ended.length
  }

  /** Notes that a session ends at another time. @param ends in milliseconds since 1970 @returns of how many terminals */
  renewSession(sid: string, ends: number): number {
    const renewed = this.#ofSession(sid)
    for (const { owner } of renewed) if (owner !== undefined) owner.ends = ends
    return renewed.length
  }

  /**
   * Ends what is over, and frees memory. Call it about twice a second.
   * @throws {AggregateError} for terminals with a fault, after all were checked: a fault of one must not let the shells of others
   * outlive their sessions
   */
  check(): void {
    const faults: unknown[] = []
    for (const terminal of this.#terminals)
      try {
        terminal.check()
      } catch (error) {
        faults.push(error)
      }
    this.#freeMemory()
    if (faults.length > 0) throw new AggregateError(faults, 'terminals could not be checked')
  }

  /** Ends every terminal, because the keeper stops, and takes no others. */
  close(): void {
    this.#isClosed = true
    for (const terminal of this.#terminals) terminal.endForStop()
  }

  #all(matches: (terminal: KeptTerminal) => boolean): KeptTerminal[] {
    return [...this.#terminals].filter(matches)
  }

  #ofSession(sid: string | undefined): KeptTerminal[] {
    return sid === undefined ? [] : this.#all(({ owner }) => owner?.sid === sid)
  }

  #makeRoom(sid: string | undefined): boolean {
    const { terminals, perSession } = this.bounds
    for (const [cap, those] of [
      [perSession, () => this.#ofSession(sid)],
      [terminals, () => [...this.#terminals]],
    ] as const)
      while (those().length >= cap) {
        const [longest] = those().filter(isParked).toSorted(byParking)
        if (longest === undefined) return false
        longest.end('another terminal needed its place')
      }
    return !this.#isClosed
  }

  /** Parked terminals lose lines above their screens, the longest parked first, and end when that is not enough. */
  #freeMemory(): void {
    const parked = this.#all(isParked).toSorted(byParking)
    let excess = this.parkedBytes - this.bounds.parkedBytes
    for (let freed = 1; freed > 0 && excess > 0; excess -= freed) {
      freed = 0
      for (const terminal of parked) {
        if (excess <= freed) break
        const before = screenBytes(terminal)
        terminal.trimScreen()
        freed += before - screenBytes(terminal)
      }
    }
    for (const terminal of parked) {
      if (excess <= 0) break
      excess -= screenBytes(terminal)
      terminal.end('parked terminals took too much memory')
    }
  }
}

function isAttached({ state }: KeptTerminal): boolean {
  return state === 'attached'
}

function isParked(terminal: KeptTerminal): boolean {
  return !isAttached(terminal)
}

/** Those whose shell has ended come first, because they lose only a picture; then the longest parked. */
function byParking(a: KeptTerminal, b: KeptTerminal): number {
  const hasEnded = ({ state }: KeptTerminal) => (state === 'exited' ? 1 : 0)
  return hasEnded(b) - hasEnded(a) || (b.parkedForMs ?? 0) - (a.parkedForMs ?? 0)
}

/** Output that waits for the parser is bounded elsewhere, and gone in a moment. No terminal is made smaller for it. */
function screenBytes({ screenBytes: all, unparsedBytes }: KeptTerminal): number {
  return all - unparsedBytes
}
