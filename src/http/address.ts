/**
 * Which address is the client's? The TCP peer's, or what trusted proxies report in `X-Forwarded-For`. Also here: IP parsing,
 * CIDR matching and the keys under which rate limits count an address.
 */
import { isIPv4, isIPv6 } from 'node:net'
import { trimOws } from './fields.ts'

/** An IP address as bytes: 4 for IPv4 (IPv4-mapped IPv6 included), 16 for IPv6. */
export type AddressBytes = readonly number[]

/** A network: an address and how many of its leading bits count. */
export interface Cidr {
  readonly bytes: AddressBytes
  readonly bits: number
}

/**
 * Parses an IP address to bytes. An IPv4-mapped IPv6 address (`::ffff:1.2.3.4`) is converted to IPv4 before any comparison,
 * because mapped addresses have evaded prefix checks or shared one rate-limit bucket (CVE-2026-30827, CVE-2026-92395).
 * @returns undefined for anything else: ports, brackets, zone identifiers, octal parts, names.
 */
export function parseAddress(text: string): AddressBytes | undefined {
  if (isIPv4(text)) return text.split('.').map(Number)
  if (text.includes('%') || !isIPv6(text)) return undefined
  const bytes = parseIPv6(text)
  return isMapped(bytes) ? bytes.slice(12) : bytes
}

function parseIPv6(text: string): number[] {
  const lastColon = text.lastIndexOf(':')
  const tail = text.slice(lastColon + 1)
  if (isIPv4(tail)) {
    const [a = 0, b = 0, c = 0, d = 0] = tail.split('.').map(Number)
    text = `${text.slice(0, lastColon + 1)}${((a << 8) | b).toString(16)}:${((c << 8) | d).toString(16)}`
  }
  const [head = '', rest] = text.split('::')
  const left = head === '' ? [] : head.split(':')
  const right = rest === undefined || rest === '' ? [] : rest.split(':')
  const zeros = Array.from({ length: 8 - left.length - right.length }, () => '0')
  return [...left, ...(rest === undefined ? [] : zeros), ...right].flatMap((group) => {
    const value = Number.parseInt(group, 16)
    return [value >> 8, value & 0xff]
  })
}

function isMapped(bytes: AddressBytes): boolean {
  return bytes.slice(0, 10).every((byte) => byte === 0) && bytes[10] === 0xff && bytes[11] === 0xff
}

const ZEROS: AddressBytes = Array.from({ length: 14 }, () => 0)

/** As bytes, because `isIPv6` compiles a large regular expression when it is first called: 4 ms of a start. */
const NAMED_NETWORKS: Readonly<Record<string, readonly Cidr[]>> = {
  loopback: [
    { bytes: [127, 0, 0, 0], bits: 8 },
    { bytes: [...ZEROS, 0, 1], bits: 128 },
  ],
  linklocal: [
    { bytes: [169, 254, 0, 0], bits: 16 },
    { bytes: [0xfe, 0x80, ...ZEROS], bits: 10 },
  ],
  uniquelocal: [
    { bytes: [10, 0, 0, 0], bits: 8 },
    { bytes: [172, 16, 0, 0], bits: 12 },
    { bytes: [192, 168, 0, 0], bits: 16 },
    { bytes: [0xfc, 0, ...ZEROS], bits: 7 },
  ],
}

/**
 * Parses an entry of the trusted proxies: an address, a CIDR, or one of the names `loopback`, `linklocal`, `uniquelocal`.
 * An IPv4-mapped network that is wider than all of IPv4 (`::ffff:0:0/90`) is refused, because it has no IPv4 equivalent.
 * @throws {Error} saying what is wrong with the entry
 */
export function parseNetworks(entry: string): Cidr[] {
  const named = Object.hasOwn(NAMED_NETWORKS, entry) ? NAMED_NETWORKS[entry] : undefined
  if (named !== undefined) return [...named]
  const [addressText = '', bitsText, ...more] = entry.split('/')
  const bytes = parseAddress(addressText)
  if (bytes === undefined || more.length > 0) {
    throw new Error(
      `"${entry}" is neither an address nor a CIDR nor one of ${Object.keys(NAMED_NETWORKS).join(', ')}`,
    )
  }
  const mappedBits = bytes.length === 4 && addressText.includes(':') ? 96 : 0
  const width = bytes.length * 8 + mappedBits
  if (bitsText !== undefined && !/^(?:0|[1-9][0-9]{0,2})$/.test(bitsText)) {
    throw new Error(`"${entry}" has a prefix length that is not a number`)
  }
  const bits = bitsText === undefined ? width : Number(bitsText)
  if (bits > width || bits < mappedBits) {
    throw new Error(`"${entry}" has a prefix length outside ${mappedBits} to ${width}`)
  }
  if (bits === mappedBits) throw new Error(`"${entry}" would trust every address`)
  return [{ bytes, bits: bits - mappedBits }]
}

/** Whether the address lies in one of the networks. An IPv4 address never matches an IPv6 network, nor the reverse. */
export function matchNetworks(address: AddressBytes, networks: readonly Cidr[]): boolean {
  return networks.some(({ bytes, bits }) => {
    if (bytes.length !== address.length) return false
    const whole = bits >> 3
    for (let i = 0; i < whole; i++) if (address[i] !== bytes[i]) return false
    const rest = bits & 7
    return ((address[whole] ?? 0) ^ (bytes[whole] ?? 0)) >> (8 - rest) === 0
  })
}

/** Writes bytes as text: dotted IPv4, or IPv6 in the short form of RFC 5952. */
export function formatAddress(bytes: AddressBytes): string {
  if (bytes.length === 4) return bytes.join('.')
  const groups = Array.from({ length: 8 }, (_, i) =>
    (((bytes[2 * i] ?? 0) << 8) | (bytes[2 * i + 1] ?? 0)).toString(16),
  )
  let best = { start: -1, length: 1 }
  for (let start = 0; start < 8; start++) {
    let length = 0
    while (start + length < 8 && groups[start + length] === '0') length++
    if (length > best.length) best = { start, length }
  }
  if (best.start < 0) return groups.join(':')
  return `${groups.slice(0, best.start).join(':')}::${groups.slice(best.start + best.length).join(':')}`
}

/** The client's address and how it was determined. */
export interface Client {
  /** The address as text, in canonical form. */
  readonly address: string
  /** The key of the address's rate limit: the IPv4 address itself, or the IPv6 /64. */
  readonly budgetKey: string
  /** The key that new addresses share when the table of limits is full: the IPv4 /24 or the IPv6 /48. */
  readonly sharedKey: string
  /** Whether the TCP peer is a trusted proxy. Only then are its forwarding headers used. */
  readonly viaProxy: boolean
  /** The address that services are told, where it is another one: of a paired device. */
  readonly forwardedAs?: string
}

/** Builds the client of an address: the address as text, and its rate-limit keys. */
export function buildClient(bytes: AddressBytes, viaProxy: boolean): Client {
  const address = formatAddress(bytes)
  if (bytes.length === 4)
    return {
      address,
      budgetKey: address,
      sharedKey: `${bytes.slice(0, 3).join('.')}.0/24`,
      viaProxy,
    }
  const prefix = (length: number) =>
    formatAddress([...bytes.slice(0, length), ...Array.from({ length: 16 - length }, () => 0)])
  return { address, budgetKey: `${prefix(8)}/64`, sharedKey: `${prefix(6)}/48`, viaProxy }
}

/**
 * The maximum number of `X-Forwarded-For` entries that are parsed, from the right. A chain of proxies has two or three;
 * the bound keeps the work small when a header holds thousands of trusted addresses.
 */
const MAX_HOPS = 32

/** The maximum length of an entry, in characters. A full IPv6 address with a dotted end, brackets and a port is shorter. */
const MAX_HOP_LENGTH = 64

/**
 * Finds the client: the TCP peer, or, when the peer is a trusted proxy, the rightmost `X-Forwarded-For` entry that is not
 * itself trusted. The client can write everything to the left of that entry, so those entries are not even parsed.
 * @param peer the address of the TCP peer; undefined for a Unix socket, whose permissions already decided who may connect
 * @param forwardedFor the values of every `X-Forwarded-For` line, in order
 * @returns undefined when an entry written by a trusted proxy is not an address, or when there are more than
 * {@link MAX_HOPS} entries to parse
 */
export function clientFrom(
  peer: string | undefined,
  forwardedFor: readonly string[],
  trusted: readonly Cidr[],
): Client | undefined {
  const peerBytes = peer === undefined ? [127, 0, 0, 1] : parseAddress(peer.split('%')[0] ?? '')
  if (peerBytes === undefined) return undefined
  if (peer !== undefined && !matchNetworks(peerBytes, trusted)) return buildClient(peerBytes, false)
  let client = peerBytes
  let hops = 0
  for (let line = forwardedFor.length - 1; line >= 0; line--) {
    const text = forwardedFor[line] ?? ''
    // Parse entries from the right and stop at the client's: the rest is never split, because the client wrote it.
    for (let end = text.length; end >= 0;) {
      if (++hops > MAX_HOPS) return undefined
      const comma = end === 0 ? -1 : text.lastIndexOf(',', end - 1)
      const hop = trimOws(text.slice(comma + 1, end))
      end = comma
      if (hop === '') continue // RFC 9110 section 5.6.1: empty list elements are ignored
      const bytes = parseHop(hop)
      if (bytes === undefined) return undefined
      client = bytes
      if (!matchNetworks(bytes, trusted)) return buildClient(client, true)
    }
  }
  return buildClient(client, true)
}

/** Parses an `X-Forwarded-For` entry: an address, plain, with a port (`1.2.3.4:80`), or in brackets (`[::1]`, `[::1]:80`). */
function parseHop(hop: string): AddressBytes | undefined {
  if (hop.length > MAX_HOP_LENGTH) return undefined
  const bracketed = /^\[([0-9A-Fa-f.]*:[0-9A-Fa-f:.]*)\](?::[0-9]{1,5})?$/.exec(hop)
  if (bracketed?.[1] !== undefined) return parseAddress(bracketed[1])
  const withPort = /^([0-9.]+):[0-9]{1,5}$/.exec(hop)
  return parseAddress(withPort?.[1] ?? hop)
}
