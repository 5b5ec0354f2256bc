/** How does whoever attacks read what a service has encoded? As the common libraries do. */

const NAMED: Readonly<Record<string, string>> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" }

/** HTML text without its character references. */
export function unescapedHtml(text: string): string {
  return text.replaceAll(
    /&(?:#x([0-9a-f]+)|#([0-9]+)|([a-z]+));/gi,
    (whole, hex, decimal, name) => {
      if (hex !== undefined) return String.fromCodePoint(Number.parseInt(String(hex), 16))
      if (decimal !== undefined) return String.fromCodePoint(Number(decimal))
      return NAMED[String(name)] ?? whole
    },
  )
}

/** A text in quoted-printable (RFC 2045 section 6.7), read. */
export function fromQuotedPrintable(text: string): string {
  return text
    .replaceAll('=\r\n', '')
    .replaceAll(/=([0-9A-F]{2})/g, (_, hex: string) =>
      String.fromCodePoint(Number.parseInt(hex, 16)),
    )
}

const BASE32 = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'

/** Bytes in base32 (RFC 4648 section 6), without padding. */
export function base32(bytes: Buffer): string {
  const bits = [...bytes].map((byte) => byte.toString(2).padStart(8, '0')).join('')
  const groups = bits.match(/.{1,5}/g) ?? []
  return groups.map((group) => BASE32[Number.parseInt(group.padEnd(5, '0'), 2)]).join('')
}

/** Text in base32, read. */
export function fromBase32(text: string): string {
  const bits = charactersOf(text)
    .map((one) => BASE32.indexOf(one).toString(2).padStart(5, '0'))
    .join('')
  const bytes = bits.match(/.{8}/g) ?? []
  return String.fromCodePoint(...bytes.map((byte) => Number.parseInt(byte, 2)))
}

/** The characters of a text in ASCII. */
export function charactersOf(text: string): string[] {
  return text.match(/./g) ?? []
}
