/** How is the text of a setting parsed? By the function of its kind here. Each throws an error with the problem as text. */
import { isAbsolute, join, resolve } from 'node:path'
import { parseNetworks, type Cidr } from '../http/address.ts'
import { isLoopbackHost, parseAuthority } from '../rules/host.ts'
import { COUNTED_SERVICES, type ServiceName } from '../rules/services.ts'
import { RESERVED_PREFIXES } from '../rules/site-map.ts'
import { isSubject, MAX_SUBJECT_LENGTH } from '../rules/subject.ts'
import { listOf } from './setting.ts'

/** The address of a service. */
export interface ServiceAddress {
  /** The URL as configured. It is for operators and is never sent to clients. */
  readonly url: string
  /** `http://host:port`, or `http://localhost` for a Unix socket. */
  readonly origin: string
  /** The host. An IPv6 literal is in brackets. */
  readonly hostname: string
  /** The TCP port; undefined for a Unix socket. */
  readonly port: number | undefined
  readonly socketPath: string | undefined
}

/** A TCP address or a Unix socket. It comes from the configuration, never from a request. */
export type Listener = { readonly host: string; readonly port: number } | { readonly path: string }

/** The address of a service in the form that node:net takes. */
export function listenerOf({ hostname, port, socketPath }: ServiceAddress): Listener {
  return socketPath === undefined
    ? { host: hostname.replace(/^\[|\]$/g, ''), port: port ?? 80 }
    : { path: socketPath }
}

/** Parses `http://host:port` or `unix:/path`. */
export function parseServiceUrl(text: string): ServiceAddress {
  if (text.startsWith('unix:')) {
    const socketPath = text.slice('unix:'.length)
    return {
      url: text,
      origin: 'http://localhost',
      hostname: 'localhost',
      port: undefined,
      socketPath: parseSocketPath(socketPath),
    }
  }
  const url = URL.parse(text)
  if (url === null || url.protocol !== 'http:') throw new Error('is not an http:// URL')
  if (url.username !== '' || url.password !== '')
    throw new Error('has a user name or password in it')
  if (url.pathname !== '/' || url.search !== '' || url.hash !== '')
    throw new Error('has more than a host and a port')
  const port = url.port === '' ? 80 : Number(url.port)
  if (port === 0) throw new Error('has port 0')
  return { url: text, origin: url.origin, hostname: url.hostname, port, socketPath: undefined }
}

/** The minimum length of an HS256 secret (RFC 7518 section 3.2), in bytes. */
const MIN_SECRET_BYTES = 32

const PLACEHOLDER =
  /change[-_ ]?(?:me|this|it)|replace[-_ ]?(?:me|this)|placeholder|your[-_ ].{0,20}secret|^<.*>$|insert[-_ ]|x{16}/i

/** Parses an HMAC secret, which must be long enough and must not be a placeholder from an example. Errors never quote it. */
export function parseSecret(text: string): string {
  if (Buffer.byteLength(text) < MIN_SECRET_BYTES)
    throw new Error(`is shorter than ${MIN_SECRET_BYTES} bytes`)
  // Many programs trim a secret that they read. Signer and verifier would then use different keys.
  if (text !== text.trim()) throw new Error('has white space at an end')
  if (PLACEHOLDER.test(text)) throw new Error('looks like a placeholder')
  if (canBeGuessed(text)) throw new Error('repeats a few characters: it can be guessed')
  return text
}

/** Whether a secret has fewer than five different characters. */
function canBeGuessed(secret: string): boolean {
  return new Set(secret).size < 5
}

/** How many secrets may verify besides the one that signs: each costs a verification for every token of a stranger. */
export const MAX_PREVIOUS_SECRETS = 3

/** Parses the secrets that only verify. */
export function parsePreviousSecrets(text: string): readonly string[] {
  if (text === '') return []
  const secrets = listOf(parseSecret)(text)
  if (secrets.length > MAX_PREVIOUS_SECRETS) throw new Error('names too many secrets')
  if (new Set(secrets).size < secrets.length) throw new Error('names a secret twice')
  return secrets
}

/** Parses the `sub` of a person or program. */
export function parseSubject(text: string): string {
  if (!isSubject(text))
    throw new Error(`has a subject that is no text of 1 to ${MAX_SUBJECT_LENGTH} characters`)
  return text
}

/** Parses a value of `amr` (RFC 8176). The error quotes the text, because it is one element of a list. */
export function parseMethodReference(text: string): string {
  if (!/^[A-Za-z0-9][A-Za-z0-9:._/-]{0,63}$/.test(text))
    throw new Error(`"${text}" is not a name such as otp`)
  return text
}

/** Parses a token that the gateway sends in a header. */
export function parseBearerToken(text: string): string {
  if (!/^[\x21-\x7e]+$/.test(text))
    throw new Error('has characters that cannot be sent in a header field')
  return text
}

/** How many tokens callers may have at once: the one in use, and the one that follows. */
const MAX_CALLER_TOKENS = 2

/** The least length of a token that callers prove themselves with, in characters. */
const MIN_CALLER_TOKEN = 32

/** Parses the tokens of callers, one on each line. Errors never quote them. */
export function parseCallerTokens(text: string): readonly string[] {
  const tokens = text.split(/\r?\n/)
  if (tokens.length > MAX_CALLER_TOKENS) throw new Error(`has more than ${MAX_CALLER_TOKENS} lines`)
  if (tokens.some((token) => !/^[\x21-\x7e]+$/.test(token)))
    throw new Error(
      'has a line that is empty, or a character that cannot be sent in a header field',
    )
  if (tokens.some(({ length }) => length < MIN_CALLER_TOKEN))
    throw new Error(`has a token of fewer than ${MIN_CALLER_TOKEN} characters`)
  if (new Set(tokens).size < tokens.length) throw new Error('has the same token twice')
  if (tokens.some((token) => PLACEHOLDER.test(token)))
    throw new Error('has a token that looks like a placeholder')
  if (tokens.some(canBeGuessed))
    throw new Error('has a token that repeats a few characters: it can be guessed')
  return tokens
}

/** Parses the networks of trusted proxies, or `none`. */
export function parseTrustedProxies(text: string): readonly Cidr[] {
  return text === 'none' ? [] : listOf(parseNetworks)(text).flat()
}

/** Parses an exact web origin: scheme, host and port, and nothing else. */
export function parseOrigin(text: string): string {
  const url = URL.parse(text)
  if (url === null || !/^https?:$/.test(url.protocol))
    throw new Error(`"${text}" is not an http(s) origin`)
  if (url.origin !== text.toLowerCase())
    throw new Error(`"${text}" is not an origin; did you mean "${url.origin}"?`)
  if (parseAuthority(url.host) === undefined)
    throw new Error(`"${text}" has no host name; origins are exact, without *`)
  return url.origin
}

/** Parses an absolute http(s) URL. */
export function parseWebUrl(text: string): string {
  const url = URL.parse(text)
  if (url === null || !/^https?:$/.test(url.protocol)) throw new Error('is not an http(s) URL')
  if (url.username !== '' || url.password !== '')
    throw new Error('has a user name or password in it')
  return url.href
}

/** Parses the origin of a WebSocket server: `wss://host[:port]`, or `ws://` on a loopback host, where nobody else can listen in. */
export function parseRelayUrl(text: string): string {
  const url = URL.parse(text)
  if (url === null || !/^wss?:$/.test(url.protocol)) throw new Error('is not a wss:// URL')
  if (url.username !== '' || url.password !== '')
    throw new Error('has a user name or password in it')
  if (url.pathname !== '/' || url.search !== '' || url.hash !== '')
    throw new Error('has more than a host and a port')
  const authority = parseAuthority(url.host)
  if (authority === undefined) throw new Error('has no host name')
  if (url.protocol === 'ws:' && !isLoopbackHost(authority))
    throw new Error('is ws:// on a host that is not loopback; take wss://')
  return `${url.protocol}//${url.host}`
}

/** Parses the URL of a Redis. Errors never quote it, because it may hold a password. */
export function parseStoreUrl(text: string): string {
  const url = URL.parse(text)
  if (url === null || !/^rediss?:$/.test(url.protocol) || url.hostname === '')
    throw new Error('is not a redis:// or rediss:// URL')
  if (!/^(?:\/[0-9]*)?$/.test(url.pathname) || url.search !== '' || url.hash !== '')
    throw new Error('has more than a host, a port and the number of a database')
  return text
}

/** Parses the id of a machine on Fly.io, which goes into a header. */
export function parseFlyMachine(text: string): string {
  if (!/^[0-9a-z]{1,64}$/.test(text)) throw new Error('is not the id of a machine')
  return text
}

/** Parses a path prefix of one or more whole segments, which no route of the gateway may use already. */
export function parsePrefix(text: string): string {
  if (!/^(?:\/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+$/.test(text))
    throw new Error('is not a path such as /chat')
  const taken = RESERVED_PREFIXES.find((prefix) => text === prefix || text.startsWith(`${prefix}/`))
  if (taken !== undefined) throw new Error(`is below ${taken}, which is a route of its own`)
  return text
}

/** Parses a route that has a budget. The error quotes the text, because it is one element of a list. */
export function parseServiceRoute(text: string): ServiceName {
  const route = COUNTED_SERVICES.find((name) => name === text)
  if (route === undefined) throw new Error(`"${text}" is not the name of a route`)
  return route
}

/** Parses the domain below which workspaces have their host names. */
export function parseDomain(text: string): string {
  const authority = parseAuthority(text)
  if (authority === undefined || authority.port !== undefined || authority.isIpLiteral)
    throw new Error('is not a domain name')
  return authority.host
}

/** Parses an absolute path in the file system. */
export function parseAbsolutePath(text: string): string {
  if (!isAbsolute(text)) throw new Error('is not an absolute path')
  return text
}

/** A relative path below the working directory. It has no `~` and no `$`, because only a shell would expand them. */
const RELATIVE_PATH = /^(?:\.\/)?[A-Za-z0-9._][A-Za-z0-9._/ -]*$/

/** Parses a path in the file system. A relative path is resolved once, against the working directory at start. */
export function parsePath(text: string): string {
  const path = resolve(text)
  if (isAbsolute(text)) return path
  if (!RELATIVE_PATH.test(text) || !path.startsWith(join(process.cwd(), '/')))
    throw new Error(
      'is a relative path that leaves the working directory or has a special character',
    )
  return path
}

/** The longest path of a Unix socket that the kernel accepts, in bytes. */
export const MAX_SOCKET_PATH_BYTES = 107

/** Parses an absolute path that is short enough for a Unix socket. */
export function parseSocketPath(text: string): string {
  if (Buffer.byteLength(text) > MAX_SOCKET_PATH_BYTES)
    throw new Error(`is longer than the ${MAX_SOCKET_PATH_BYTES} bytes of a Unix socket's path`)
  return parseAbsolutePath(text)
}

/** Parses the path of a socket that a successor takes over: it is opened under a name that ends with the process id. */
export function parseHandedOverSocket(text: string): string {
  const longest = 103 - '.4194304'.length
  if (Buffer.byteLength(text) > longest)
    throw new Error(`is longer than ${longest} bytes, so that a successor's socket has no room`)
  return parseAbsolutePath(text)
}

/** Parses the folder of the vault's doors: the longest path that the gateway opens in it is that of the workspaces' door. */
export function parseDoorsFolder(text: string): string {
  const longest = MAX_SOCKET_PATH_BYTES - '/owner/workspaces.sock'.length
  if (Buffer.byteLength(text) > longest)
    throw new Error(`is longer than ${longest} bytes, so that its sockets have no room`)
  return parseAbsolutePath(text)
}

/** Parses a host name or address to listen on. Brackets around an IPv6 address are removed. */
export function parseListenHost(text: string): string {
  const bare = text.replace(/^\[(.*)\]$/, '$1')
  if (parseAuthority(bare.includes(':') ? `[${bare}]` : bare) === undefined)
    throw new Error('is not an address or host name')
  return bare
}

/** Parses the name of a workspace, which is a DNS label. */
export function parseWorkspace(text: string): string {
  if (!/^[a-z0-9][a-z0-9-]{2,29}$/.test(text)) throw new Error('is not a workspace name')
  return text
}
