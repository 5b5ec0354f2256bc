/** Where do the links of a screen lead (OSC 8)? Their number and length are bounded, whatever a program prints. */
import type { LinkData, Links } from './xterm-internals.ts'

/** The links of a screen may take this much memory, in bytes. */
const MAX_BYTES = 512 * 1024

/** What a link takes besides its text, in bytes. */
const LINK_BYTES = 200

/** The links of one screen. */
export class LinkTable implements Links {
  readonly #links = new Map<number, LinkData>()
  /** Numbers of links with an id, by id and address: such a link can be continued elsewhere. */
  readonly #numbers = new Map<string, number>()
  readonly #numbersOnScreen: () => ReadonlySet<number>
  #lastNumber = 0
  #bytes = 0
  /** What was opened since the screen was searched last, in bytes. */
  #openedBytes = 0

  /** @param numbersOnScreen the links of all cells, and the open one. Called at most once for every 256 KiB of links. */
  constructor(numbersOnScreen: () => ReadonlySet<number>) {
    this.#numbersOnScreen = numbersOnScreen
  }

  /** How much memory the links take, in bytes. */
  get bytes(): number {
    return this.#bytes
  }

  /** @returns the number of a link; 0, which is no link, when all that fit are on the screen */
  registerLink(link: LinkData): number {
    const key = link.id === undefined ? undefined : keyOf(link)
    const known = key === undefined ? undefined : this.#numbers.get(key)
    if (known !== undefined) return known
    const bytes = bytesOf(link)
    this.#openedBytes += bytes
    if (this.#bytes + bytes > MAX_BYTES) this.#forgetUnused()
    if (this.#bytes + bytes > MAX_BYTES) return 0
    this.#lastNumber += 1
    this.#links.set(this.#lastNumber, link)
    if (key !== undefined) this.#numbers.set(key, this.#lastNumber)
    this.#bytes += bytes
    return this.#lastNumber
  }

  addLineToLink(): void {}

  getLinkData(number: number): LinkData | undefined {
    return this.#links.get(number)
  }

  #forgetUnused(): void {
    if (this.#openedBytes < MAX_BYTES / 2) return // a search takes milliseconds, so that many links must have paid for it
    this.#openedBytes = 0
    const used = this.#numbersOnScreen()
    for (const [number, link] of this.#links) {
      if (used.has(number)) continue
      this.#links.delete(number)
      if (link.id !== undefined) this.#numbers.delete(keyOf(link))
      this.#bytes -= bytesOf(link)
    }
  }
}

function bytesOf({ id = '', uri }: LinkData): number {
  return LINK_BYTES + 2 * (id.length * 2 + uri.length * 2)
}

function keyOf({ id, uri }: LinkData): string {
  return `${id};${uri}`
}
