/** Which terminals are there? All of the keeper's, with their bounds: how many, how much memory, and how long. */
import type { TerminalEntry } from '../protocol.ts'
import type { KeptTerminal, TerminalOwner } from './terminal.ts'

/** How many terminals there may be, and how many of one session. */
export const MAX_TERMINALS = 64
export const MAX_TERMINALS_PER_SESSION = 16

/** How much memory the screens of parked terminals may take together, in bytes. */
const MAX_PARKED_BYTES = 64 * 1024 * 1024

/** Every terminal. */
export class Terminals {
  readonly #terminals = new Set<KeptTerminal>()
  /** Places of handshakes that ttyd has not answered yet, by session. */
  readonly #reserved = new Map<symbol, string | undefined>()

  get size(): number {
    return this.#terminals.size
  }

  /** How many are attached, and how many parked. */
  counts(): { attached: number; parked: number } {
    const attached = this.#all(({ state }) => state === 'attached').length
    return { attached, parked: this.#terminals.size - attached }
  }

  list(): TerminalEntry[] {
    return Array.from(this.#terminals, (terminal) => terminal.entry())
  }

  /** The terminal of a tab; undefined when there is none. Another session, and another person, never get it. */
  find({ sid, sub }: TerminalOwner, tab: string): KeptTerminal | undefined {
    return this.#all(
      ({ owner, tab: its }) => its === tab && owner?.sid === sid && owner.sub === sub,
    )[0]
  }

  /**
   * Reserves a place before ttyd is asked, so that a burst of handshakes cannot pass the caps. At a cap the terminal that has been
   * parked longest ends.
   * @returns releases the place; undefined when all terminals are attached
   */
  reserve(sid: string | undefined): (() => void) | undefined {
    const isOfSession = (id: string | undefined) => sid !== undefined && id === sid
    const inSession = this.#all(({ owner }) => isOfSession(owner?.sid))
    const reserved = [...this.#reserved.values()]
    const waiting = reserved.filter(isOfSession).length
    if (inSession.length + waiting >= MAX_TERMINALS_PER_SESSION && !endLongestParked(inSession))
      return undefined
    if (this.size + reserved.length >= MAX_TERMINALS && !endLongestParked([...this.#terminals]))
      return undefined
    const place = Symbol('place')
    this.#reserved.set(place, sid)
    return () => void this.#reserved.delete(place)
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
    terminal?.end({ code: 1000, reason: 'ended by its owner' })
    return terminal !== undefined
  }

  /** Ends the terminals of a session. @returns how many */
  endSession(sid: string): number {
    const ended = this.#all(({ owner }) => owner?.sid === sid)
    for (const terminal of ended) terminal.endWithSession()
    return ended.length
  }

  /** Notes that a session ends at another time. @param ends in milliseconds since 1970 @returns of how many terminals */
  renewSession(sid: string, ends: number): number {
    const renewed = this.#all(({ owner }) => owner?.sid === sid)
    for (const { owner } of renewed) if (owner !== undefined) owner.ends = ends
    return renewed.length
  }

  /** Ends what is over, and frees memory. Call it about twice a second. */
  check(now = performance.now(), wallClock = Date.now()): void {
    for (const terminal of this.#terminals) terminal.check(now, wallClock)
    const parked = this.#all(({ parkedSince }) => parkedSince !== undefined)
    let bytes = parked.reduce((sum, { screenBytes }) => sum + screenBytes, 0)
    for (const terminal of parked.toSorted(byParkedSince)) {
      if (bytes <= MAX_PARKED_BYTES) break
      bytes -= terminal.screenBytes
      terminal.trimScreen()
      bytes += terminal.screenBytes
    }
  }

  /** Ends every terminal, because the keeper stops. */
  endAll(): void {
    for (const terminal of this.#terminals) terminal.end({ code: 1012, reason: 'restarting' })
  }

  #all(matches: (terminal: KeptTerminal) => boolean): KeptTerminal[] {
    return [...this.#terminals].filter(matches)
  }
}

function byParkedSince(a: KeptTerminal, b: KeptTerminal): number {
  return (a.parkedSince ?? 0) - (b.parkedSince ?? 0)
}

/** Ends the terminal that has been parked longest. @returns whether there was one */
function endLongestParked(terminals: readonly KeptTerminal[]): boolean {
  const [longest] = terminals
    .filter(({ parkedSince }) => parkedSince !== undefined)
    .toSorted(byParkedSince)
  longest?.end()
  return longest !== undefined
}
