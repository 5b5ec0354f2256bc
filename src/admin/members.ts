/**
 * What does a request to an action say? The members of a JSON object, each checked, and none that the action does not take:
 * an owner who misspells `rate` must not get a token without one.
 */
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
  return wrongInput(
    `The body is a JSON object with no other members than these: ${names.join(', ')}.`,
  )
}

/** A subject. @throws {GatewayError} `bad-request` */
export function subjectIn(value: unknown, name: string): string {
  if (isSubject(value)) return value
  throw wrongInput(`The member ${name} is the sub of a person: a text without control characters.`)
}

/**
 * The refusal of a request that an action cannot understand.
 * @param detail what the action takes: a fixed text, without any part of the request
 */
export function wrongInput(detail: string): GatewayError {
  return new GatewayError('bad-request', { reason: detail, detail })
}
