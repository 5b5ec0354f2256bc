/**
 * What may an API token do? Its scopes name routes, each for everything or for reading, and optionally the paths below which
 * it counts. Whatever no scope names is refused.
 */
import { OWNERS_API } from '../answers/pages/paths.ts'
import { SERVICE_NAMES, SERVICES } from './services.ts'
import type { RouteName } from './site-map.ts'
import { decodeFully, type Target } from './target.ts'

/** What a scope is about: a relayed service, or the owner's side of the gateway. */
export type ScopeRoute = Exclude<RouteName, 'health' | 'gateway'> | 'owner'

/** The services that a scope can name: those that the gateway relays to. */
const RELAYED = SERVICE_NAMES.filter((name) => SERVICES[name].answeredBy === 'service')

/** Everything that a scope can name. */
export const SCOPE_ROUTES: readonly string[] = [...RELAYED, 'owner']

/** The scopes of a token that was made without naming any. */
export const DEFAULT_SCOPES: readonly string[] = ['api']

/** How many scopes one token can have. */
const MAX_SCOPES = 32

/** The longest path in a scope, in characters. */
const MAX_PREFIX_LENGTH = 256

/** One scope. */
export interface Scope {
  readonly route: ScopeRoute
  /** Whether it is for GET, HEAD and OPTIONS alone. */
  readonly isReadOnly: boolean
  /** The path at and below which it counts, without a slash at its end; an empty string for every path of the route. */
  readonly prefix: string
}

/**
 * The characters of a path that stand for themselves (RFC 3986 section 3.3), without the comma, which separates scopes, and
 * without the semicolon and the percent sign, because services differ in how they read these.
 */
const PREFIX = /^\/[A-Za-z0-9\-._~!$&'()*+=:@/]*$/

/**
 * Parses scopes: `api`, `api:read`, `api:/v1/models`, `api:read:/v1/`, each text with one or several, separated by commas.
 * @returns each scope once, in the order given
 * @throws {Error} with the problem as text
 */
export function parseScopes(texts: readonly string[]): Scope[] {
  const scopes = new Map<string, Scope>()
  for (const part of texts.flatMap((text) => text.split(','))) {
    const scope = parseScope(part.trim())
    scopes.set(scopeText(scope), scope)
  }
  if (scopes.size > MAX_SCOPES) throw new Error(`a token has ${MAX_SCOPES} scopes at most`)
  return [...scopes.values()]
}

function parseScope(text: string): Scope {
  const [, name = '', reading, path = ''] = /^([a-z]+)(:read)?(?::(\/.*))?$/.exec(text) ?? []
  const quoted = JSON.stringify(text.slice(0, MAX_PREFIX_LENGTH))
  if (!isScopeRoute(name))
    throw new Error(
      `${quoted} is no scope: write a route (${SCOPE_ROUTES.join(', ')}), then :read for reading alone, then :/path for a part of the route`,
    )
  if (path !== '' && !RELAYED.some((service) => service === name))
    throw new Error(`${quoted} has a path, and "${name}" is no service that has paths`)
  const prefix = path.replace(/\/$/, '')
  const problem = problemOfPrefix(path, prefix)
  if (problem !== undefined) throw new Error(`${quoted} has a path that ${problem}`)
  return { route: name, isReadOnly: reading !== undefined, prefix }
}

function problemOfPrefix(path: string, prefix: string): string | undefined {
  if (path.length > MAX_PREFIX_LENGTH) return `is longer than ${MAX_PREFIX_LENGTH} characters`
  if (path !== '' && !PREFIX.test(path)) return 'has a character that is not plain in a path'
  if (prefix.endsWith(':read')) return 'ends in :read: write :read before the path'
  const segments = prefix.split('/').slice(1)
  return segments.some((segment) => segment === '' || segment === '.' || segment === '..')
    ? 'has an empty segment or a dot segment'
    : undefined
}

function isScopeRoute(name: string): name is ScopeRoute {
  return SCOPE_ROUTES.includes(name)
}

/** A scope as text: the one spelling in which it is kept and shown. */
export function scopeText({ route, isReadOnly, prefix }: Scope): string {
  return `${route}${isReadOnly ? ':read' : ''}${prefix === '' ? '' : `:${prefix}`}`
}

/**
 * Whether one of the scopes permits a request.
 * @param isReading whether the request is GET, HEAD or OPTIONS, and no WebSocket handshake
 * @param target the path and query as the service gets them, in the form that src/rules/target.ts has accepted
 */
export function permits(
  scopes: readonly Scope[],
  route: ScopeRoute,
  isReading: boolean,
  target: string,
): boolean {
  for (const scope of scopes)
    if (
      scope.route === route &&
      (isReading || !scope.isReadOnly) &&
      isAtOrBelow(target, scope.prefix)
    )
      return true
  return false
}

/**
 * Whether scopes permit a request.
 * @param isReading as in {@link permits}
 */
export function permitsRequest(
  scopes: readonly Scope[],
  { route, forwarded }: Target,
  isReading: boolean,
): boolean {
  if (route === 'health') return false // answered for everybody, before anybody asks for a scope
  if (route !== 'gateway') return permits(scopes, route, isReading, forwarded)
  // All else of the gateway's own is for people who are signed in.
  return isAtOrBelow(forwarded, OWNERS_API) && permits(scopes, 'owner', isReading, forwarded)
}

/**
 * Whether a target is a path, or below it. The bytes are compared as they are, and a prefix has no escapes: however often a
 * service decodes the target, and whether or not it merges slashes, it therefore begins with the prefix and then a slash.
 * What follows must not lead back out. A target with dot segments, at any level of decoding, was refused before; here it is
 * one that a careless service could take for such.
 */
function isAtOrBelow(target: string, prefix: string): boolean {
  if (!target.startsWith(prefix)) return false
  if (prefix === '' || target.length === prefix.length) return true
  const next = target.charCodeAt(prefix.length)
  return (next === SLASH || next === QUESTION_MARK) && !mayLeadOut(target)
}

const SLASH = 0x2f
const QUESTION_MARK = 0x3f

/** Whether a segment begins with two dots or with something that Unicode normalization makes dots of: `..#`, which a URL parser cuts. */
function mayLeadOut(target: string): boolean {
  const queryAt = target.indexOf('?')
  const path = queryAt < 0 ? target : target.slice(0, queryAt)
  return LEADING_OUT.test(path.includes('%') ? decodeFully(path) : path)
}

const LEADING_OUT = /[/\uff0f\uff3c](?:\.\.|\.?[\u2024-\u2026\ufe52\uff0e])/
