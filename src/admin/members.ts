/**
 * What does a request to an action say? The members of a JSON object, each checked, and none that the action does not take:
 * an owner who misspells `rate` must not get a token without one.
 */
import { memberDetail, membersDetail, OWNER_DETAILS } from '../answers/details.ts'
import { GatewayError } from '../answers/errors.ts'
import { isSubject } from '../rules/subject.ts'

/** The members of a request, which are not yet checked. */
export type Members<Name extends string> = Readonly<Partial<Record<Name, unknown>>>

/**
 * The members of a request body.
 * @param names every member that the action takes
 * @throws {GatewayError} `bad-request` when the body is no object, or has another member
 */
export function membersOf<const Name extends string>(
  body: unknown,
  names: readonly Name[],
): Members<Name> {
  if (typeof body !== 'object' || body === null || Array.isArray(body)) throw notTheseMembers(names)
  const isKnown = (name: string) => (names as readonly string[]).includes(name)
  if (!Object.keys(body).every(isKnown)) throw notTheseMembers(names)
  return body as Members<Name>
}

function notTheseMembers(names: readonly string[]): GatewayError {
  return new GatewayError('bad-request', { reason: 'wrong members', detail: membersDetail(names) })
}

/** A subject. @throws {GatewayError} `bad-request` */
export function subjectIn(value: unknown, name: string): string {
  if (isSubject(value)) return value
  throw memberRefusal(name, 'the name of a person or program, without control characters')
}

/** A text. @throws {GatewayError} `bad-request` */
export function textIn(value: unknown, name: string): string {
  if (typeof value === 'string') return value
  throw memberRefusal(name, 'a text')
}

/** A list of texts; undefined when left out. @throws {GatewayError} `bad-request` */
export function textsIn(value: unknown, name: string): readonly string[] | undefined {
  if (value === undefined) return undefined
  if (Array.isArray(value) && value.every((one) => typeof one === 'string')) return value
  throw memberRefusal(name, 'a list of texts')
}

/** A number of seconds, or of requests; undefined when left out. @throws {GatewayError} `bad-request` */
export function countIn(value: unknown, name: string): number | undefined {
  if (value === undefined) return undefined
  if (typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= MAX_COUNT)
    return value
  throw memberRefusal(name, `a whole number from 0 to ${MAX_COUNT}`)
}

/** The largest count. As seconds from now on, it is still a date that ISO 8601 can write with four digits. */
const MAX_COUNT = 100_000_000_000

/** The refusal of a member with a wrong value. @param takes such as `a text` */
export function memberRefusal(name: string, takes: string): GatewayError {
  const detail = memberDetail(name, takes)
  return new GatewayError('bad-request', { reason: `wrong ${name}`, detail })
}

/** The refusal of an owner's action, with the reason and what the caller is told. */
export function ownerRefusal(
  code: 'bad-request' | 'not-found' | 'scope-missing',
  reason: keyof typeof OWNER_DETAILS,
): GatewayError {
  return new GatewayError(code, { reason, detail: OWNER_DETAILS[reason] })
}
