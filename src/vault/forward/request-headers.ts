/**
 * Which headers does a service get? A list that is built anew: those of an allow list, those that the entry names, and the
 * credential in its slot. Whatever else an agent sends is left out, so that it cannot add a second credential or change the target.
 */
import { fieldLines, listElements, type RawHeaders } from '../../http/fields.ts'
import { HOP_BY_HOP } from '../../http/hop-by-hop.ts'
import { hostOf, type Policy } from '../policy.ts'
import { VaultError } from '../vault-errors.ts'
import { fillSlot } from './slot.ts'

/** Headers of a request as `request` of node:http takes them, by their names in lower case. */
export type RequestHeaders = Record<string, string | string[]>

/** What the tools of services send. */
const FORWARDED = new Set([
  ...[
    'accept',
    'accept-language',
    'cache-control',
    'content-type',
    'content-encoding',
    'user-agent',
  ],
  ...[
    'content-language',
    'content-disposition',
    'content-md5',
    'digest',
    'content-digest',
    'prefer',
  ],
  ...['if-match', 'if-none-match', 'if-modified-since', 'if-unmodified-since', 'idempotency-key'],
  ...['git-protocol', 'x-github-api-version', 'x-github-next-global-id', 'x-request-id'],
  ...['anthropic-version', 'anthropic-beta', 'anthropic-dangerous-direct-browser-access', 'x-app'],
  ...['openai-beta', 'openai-organization', 'openai-project', 'x-client-request-id'],
  ...['x-goog-api-client', 'x-goog-user-project', 'x-goog-request-params', 'x-server-timeout'],
])

const FORWARDED_PREFIXES: readonly string[] = ['x-stainless-']

/** Never forwarded, also when an entry names them. */
const NEVER = new Set([
  ...HOP_BY_HOP,
  ...['connection', 'host', 'content-length', 'accept-encoding', 'expect', 'range', 'if-range'],
  ...['authorization', 'cookie', 'cookie2', 'forwarded', 'via', 'x-real-ip', 'true-client-ip'],
  // They make some services take another method or another path than the one that was checked.
  ...['x-http-method', 'x-http-method-override', 'x-method-override', 'http-method-override'],
  ...['x-original-url', 'x-rewrite-url', 'x-original-uri', 'x-original-method', 'x-host'],
])

/** With those of a workspace's gateway, where an agent could add a credential beside that of the slot. */
const NEVER_PREFIXES: readonly string[] = [
  'x-forwarded-',
  'proxy-',
  'sec-websocket-',
  'x-workspace-',
]

/** The headers of a handshake. Without the extensions: a compressed message would hide the credential from the scrubber. */
const HANDSHAKE = ['sec-websocket-key', 'sec-websocket-version', 'sec-websocket-protocol'] as const

/** Whether an entry may name a header, so that requests carry it. @param name in any case */
export function mayBeForwarded(name: string): boolean {
  // Some services read `X_Http_Method` as `X-Http-Method` (CGI).
  const plain = name.toLowerCase().replaceAll('_', '-')
  return !NEVER.has(plain) && !NEVER_PREFIXES.some((prefix) => plain.startsWith(prefix))
}

/**
 * Builds the headers for a service.
 * @param credential the newest version's value
 * @throws {VaultError} `bad-request` when the framing of the body is not clear
 */
export function requestHeaders(
  policy: Policy,
  raw: RawHeaders,
  credential: Buffer,
  isUpgrade = false,
): RequestHeaders {
  const headers: RequestHeaders = { host: hostOf(policy) }
  const nominated = new Set(fieldLines(raw, 'connection').flatMap(listElements))
  const named = new Set(policy.headers)
  for (let i = 0; i < raw.length; i += 2) {
    const name = (raw[i] ?? '').toLowerCase()
    if (nominated.has(name) || name === policy.slot.header || !isAllowed(name, named)) continue
    append(headers, name, raw[i + 1] ?? '')
  }
  Object.assign(headers, isUpgrade ? handshakeHeaders(raw) : framing(raw))
  headers['accept-encoding'] = 'identity'
  headers[policy.slot.header] = fillSlot(policy, credential)
  return headers
}

function isAllowed(name: string, named: ReadonlySet<string>): boolean {
  const isListed =
    FORWARDED.has(name) ||
    named.has(name) ||
    FORWARDED_PREFIXES.some((prefix) => name.startsWith(prefix))
  return isListed && mayBeForwarded(name)
}

function append(headers: RequestHeaders, name: string, value: string): void {
  const before = headers[name]
  headers[name] = before === undefined ? value : [before, value].flat()
}

/** The length of the body, stated in one way. */
function framing(raw: RawHeaders): RequestHeaders {
  const lengths = fieldLines(raw, 'content-length')
  const codings = fieldLines(raw, 'transfer-encoding')
  if (lengths.length + codings.length > 1)
    throw new VaultError('bad-request', 'the request states the length of its body more than once')
  const [length] = lengths
  if (length !== undefined) {
    if (!/^[0-9]{1,15}$/.test(length))
      throw new VaultError('bad-request', 'Content-Length is not a number')
    return { 'content-length': length }
  }
  const [coding] = codings
  if (coding === undefined) return {}
  if (coding.toLowerCase() !== 'chunked')
    throw new VaultError('bad-request', 'Transfer-Encoding takes only chunked')
  return { 'transfer-encoding': 'chunked' }
}

/** @throws {VaultError} when the request asks for something other than a WebSocket */
function handshakeHeaders(raw: RawHeaders): RequestHeaders {
  const protocols = fieldLines(raw, 'upgrade').flatMap(listElements)
  if (protocols.length !== 1 || protocols[0] !== 'websocket')
    throw new VaultError('upgrade-not-allowed', 'an upgrade may only be to websocket')
  if (Object.keys(framing(raw)).length > 0)
    throw new VaultError('bad-request', 'a request for a WebSocket has no body')
  const headers: RequestHeaders = { connection: 'Upgrade', upgrade: 'websocket' }
  for (const name of HANDSHAKE)
    for (const value of fieldLines(raw, name)) append(headers, name, value)
  return headers
}
