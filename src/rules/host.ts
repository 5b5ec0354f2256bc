/** Does the gateway serve this host? It parses `Host` (RFC 9110 section 7.2) and matches the result against an allow-list. */
import { isIPv4 } from 'node:net'
import { parseAddress } from '../http/address.ts'

/** The host and port in a `Host` header. */
export interface Authority {
  /** Lower case, without a trailing dot; an IPv6 literal keeps its brackets. */
  readonly host: string
  /** The port as written, or undefined. */
  readonly port: string | undefined
  /** Whether the host is an IP literal, for which DNS rebinding is impossible. */
  readonly isIpLiteral: boolean
}

const REG_NAME =
  /^(?=.{1,253}$)[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)*$/

/** The longest legal value: a name of 253 characters, a trailing dot, and a port. */
const MAX_AUTHORITY_LENGTH = 260

/** Parses the value of a `Host` header. @returns undefined when it is not host[:port] */
export function parseAuthority(text: string): Authority | undefined {
  if (text.length > MAX_AUTHORITY_LENGTH) return undefined
  const match = /^(\[[0-9a-fA-F.]*:[0-9a-fA-F:.]*\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?$/.exec(text)
  if (match?.[1] === undefined) return undefined
  const port = match[2]
  if (port !== undefined && (Number(port) < 1 || Number(port) > 65_535)) return undefined
  const literal = match[1].toLowerCase()
  if (literal.startsWith('[')) {
    return parseAddress(literal.slice(1, -1)) === undefined
      ? undefined
      : { host: literal, port, isIpLiteral: true }
  }
  const host = literal.endsWith('.') ? literal.slice(0, -1) : literal
  if (isIPv4(host)) return { host, port, isIpLiteral: true }
  // Browsers read a name that ends in a number as an IPv4 address (0x7f.1, 127.1), so such a name is refused.
  if (/(?:^|\.)(?:[0-9]+|0x[0-9a-f]*)$/.test(host)) return undefined
  return REG_NAME.test(host) ? { host, port, isIpLiteral: false } : undefined
}

/** A rule of `GATEWAY_ALLOWED_HOSTS`. */
export type HostRule = '*' | `.${string}` | (string & {})

/** Parses a rule: a host, `.example.com` for a domain and its subdomains, or `*`. @throws {Error} with the problem as text */
export function parseHostRule(text: string): HostRule {
  if (text === '*') return text
  const name = text.startsWith('.') ? text.slice(1) : text
  const authority = parseAuthority(name)
  if (authority === undefined || authority.port !== undefined) {
    throw new Error(
      `"${text}" is neither a host name, nor ".domain", nor "*" (ports are not part of a rule)`,
    )
  }
  if (text.startsWith('.') && (authority.isIpLiteral || !authority.host.includes('.'))) {
    throw new Error(`"${text}" would cover a whole top-level domain or an address`)
  }
  return text.startsWith('.') ? `.${authority.host}` : authority.host
}

/**
 * Whether the host is served: the workspace's own host, `localhost` and `*.localhost`, IP literals, and the configured rules.
 * @param publicHost `<workspace>.<domain>`, lower case
 */
export function matchHost(
  authority: Authority,
  publicHost: string,
  rules: readonly HostRule[],
): boolean {
  const { host, isIpLiteral } = authority
  if (host === publicHost || isIpLiteral || isLoopbackName(host)) return true
  return rules.some((rule) => {
    if (rule === '*') return true
    return rule.startsWith('.') ? host === rule.slice(1) || host.endsWith(rule) : host === rule
  })
}

function isLoopbackName(host: string): boolean {
  return host === 'localhost' || host.endsWith('.localhost')
}

/** Whether the host names this machine itself. Plain http to it never crosses a network. */
export function isLoopbackHost({ host, isIpLiteral }: Authority): boolean {
  if (isLoopbackName(host)) return true
  if (!isIpLiteral) return false
  const bytes = parseAddress(host.startsWith('[') ? host.slice(1, -1) : host)
  if (bytes === undefined) return false
  return bytes.length === 4
    ? bytes[0] === 127
    : bytes.every((byte, i) => byte === (i === 15 ? 1 : 0))
}
