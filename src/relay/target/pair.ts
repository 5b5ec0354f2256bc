/**
 * How are two programs in one process joined as by a connection? By two streams: what is written into one is read from the other, with
 * back-pressure. Unlike Node's `duplexPair`, an end that is destroyed before it has ended both ways destroys the other one too, so
 * that what was cut short does not look whole.
 */
import { Duplex } from 'node:stream'

/** Makes a connection. @returns its two ends */
export function connectedPair(): [Duplex, Duplex] {
  const one = new PairEnd()
  const other = new PairEnd()
  one.joinWith(other)
  other.joinWith(one)
  return [one, other]
}

class PairEnd extends Duplex {
  #other: PairEnd | undefined
  /** Tells the other end that what it has written was taken. */
  #taken: (() => void) | undefined

  joinWith(other: PairEnd): void {
    this.#other = other
  }

  override _read(): void {
    const taken = this.#taken
    this.#taken = undefined
    taken?.()
  }

  override _write(chunk: Buffer, _encoding: string, done: (error?: Error) => void): void {
    const other = this.#other
    if (other === undefined || other.destroyed) done(new Error('the other end is gone'))
    else if (chunk.length === 0 || other.push(chunk)) done()
    else other.#taken = done
  }

  override _final(done: () => void): void {
    this.#other?.push(null)
    done()
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    if (!this.readableEnded || !this.writableFinished) this.#other?.destroy()
    done(error)
  }
}
