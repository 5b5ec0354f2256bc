/** What do both directions of the header policy share? The fields of one hop, and a memory of names. */

/** Hop-by-hop fields (RFC 9110 section 7.6.1 and its history). */
export const HOP_BY_HOP: readonly string[] = [
  'keep-alive',
  'proxy-authenticate',
  'proxy-authentication-info',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'trailers',
  'transfer-encoding',
  'upgrade',
  'http2-settings',
]

const REMEMBERED_NAMES = 2_000
const REMEMBERED_LENGTH = 64

/** Looks the kind of a name up once and remembers it, in bounded memory whatever names are made up. */
export class NameKinds<Kind> {
  readonly #kinds = new Map<string, Kind>()
  readonly #kindOf: (name: string) => Kind

  constructor(kindOf: (name: string) => Kind) {
    this.#kindOf = kindOf
  }

  of(name: string): Kind {
    const known = this.#kinds.get(name)
    if (known !== undefined) return known
    const kind = this.#kindOf(name)
    if (this.#kinds.size >= REMEMBERED_NAMES) this.#kinds.clear()
    if (name.length <= REMEMBERED_LENGTH) this.#kinds.set(name, kind)
    return kind
  }

  /** How many names are remembered. */
  get size(): number {
    return this.#kinds.size
  }
}

/** The framing of the message is the parser's business, and a handshake needs its own fields: no nomination takes those. */
export function removeNominated(
  headers: string[],
  start: number,
  nominated: readonly string[],
  upgrade: boolean,
): void {
  const names = new Set(nominated)
  for (let i = headers.length - 2; i >= start; i -= 2) {
    const name = (headers[i] ?? '').toLowerCase()
    if (name === 'content-length' || (upgrade && name.startsWith('sec-websocket-'))) continue
    if (names.has(name)) headers.splice(i, 2)
  }
}
