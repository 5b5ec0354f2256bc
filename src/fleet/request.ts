/** What does a request ask of the limits service? Its address, its user and its grant, each in one spelling, or a 400 that says why. */
import { isSubject, MAX_SUBJECT_LENGTH } from '../rules/subject.ts'
import { LimitError } from './limit-errors.ts'

/** Whom a request is about. */
export interface Asked {
  readonly user: string
  /** What the caller calls the grant; undefined when it leaves that to the service. */
  readonly grant: string | undefined
}

/** An address of the service. */
interface Target {
  /** `/healthz`, or `/v1/` and what may be the name of a policy. */
  readonly path: string
  /** What follows the question mark; an empty text without one. */
  readonly query: string
}

const TARGET = /^(\/healthz|\/v1\/[a-z0-9][a-z0-9-]{0,63})(?:\?([^#]*))?$/

/** Reads a request target; undefined when it is none of the service's. An escape in a path, a second slash or a host is none. */
export function readTarget(target: string): Target | undefined {
  const [, path, query = ''] = TARGET.exec(target) ?? []
  return path === undefined ? undefined : { path, query }
}

/** The name of the policy that a path asks for; undefined for another path. */
export function policyNameIn(path: string): string | undefined {
  return path.startsWith('/v1/') ? path.slice('/v1/'.length) : undefined
}

const NAMES: readonly string[] = ['user', 'grant']

/** Reads a query. @param names the parameters that it may have @throws {LimitError} */
export function askedInQuery(query: string, names: readonly string[] = NAMES): Asked {
  const found = new Map<string, string>()
  for (const piece of query === '' ? [] : query.split('&')) {
    const [name = '', ...rest] = piece.split('=')
    const key = decoded(name)
    if (!names.includes(key) || found.has(key))
      throw malformed(`the query takes ${names.join(' and ')}, each once, and nothing else`)
    found.set(key, decoded(rest.join('=')))
  }
  return askedOf(found.get('user'), found.get('grant'))
}

/** Reads a body. @throws {LimitError} */
export function askedInBody(bytes: Buffer): Asked {
  const text = utf8In(bytes)
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    throw malformed('the body is not JSON')
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw malformed('the body is not a JSON object')
  const names = Object.keys(value)
  if (!names.every((name) => NAMES.includes(name)))
    throw malformed(`the body takes the members ${NAMES.join(' and ')} alone`)
  const { user, grant } = value as { user?: unknown; grant?: unknown }
  const asked = askedOf(user, grant)
  // Each member is a name and a text by now. Of a repeated one JSON.parse keeps the last, and another parser might keep the first.
  if (text.match(/"(?:[^"\\]|\\.)*"/g)?.length !== 2 * names.length)
    throw malformed('the body has a member twice')
  return asked
}

function askedOf(user: unknown, grant: unknown): Asked {
  // Two spellings that look the same would be two users, each with a limit of its own.
  if (!isSubject(user) || user.normalize('NFC') !== user)
    throw malformed(
      `user takes a text of 1 to ${MAX_SUBJECT_LENGTH} characters without control characters, in Unicode's form NFC`,
    )
  if (grant === undefined) return { user, grant }
  if (typeof grant !== 'string' || !/^[A-Za-z0-9._:-]{1,128}$/.test(grant))
    throw malformed('grant takes 1 to 128 characters of A-Z a-z 0-9 . _ : -')
  return { user, grant }
}

/** Reads a name or a value of a query, as forms write them. */
function decoded(text: string): string {
  try {
    return decodeURIComponent(text.replaceAll('+', ' '))
  } catch {
    throw malformed('the query is not UTF-8 in percent-encoding')
  }
}

function utf8In(bytes: Buffer): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    throw malformed('the body is not UTF-8')
  }
}

/** The refusal of a request that is not as the service takes it. */
export function malformed(detail: string): LimitError {
  return new LimitError('bad-request', detail)
}
