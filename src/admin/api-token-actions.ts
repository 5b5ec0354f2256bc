/** What does an owner see of the API tokens, and how are they made, replaced and revoked? */
import { describe, type ListedApiToken } from '../identity/api-token-list.ts'
import {
  DEFAULT_API_TOKEN_MS,
  DEFAULT_OVERLAP_MS,
  type ApiToken,
  type ApiTokens,
  type NewApiToken,
} from '../identity/api-tokens.ts'
import type { ActionInput, ActionResult, StateParts } from './action.ts'
import type { Caller } from './caller.ts'
import { countIn, membersOf, ownerRefusal, subjectIn, textIn, textsIn } from './members.ts'

/** The answer when a token was made: what is listed of it, and the token itself, which nobody can be shown again. */
export interface MadeTokenView extends ListedApiToken {
  readonly token: string
}

/** The answer when a token was replaced. */
export interface RotatedTokenView extends MadeTokenView {
  /** The old token, which counts until it expires. */
  readonly replaces: ListedApiToken
}

/** The answer when tokens were revoked. */
export interface RevokedView {
  readonly revoked: readonly ListedApiToken[]
  /** Whether it is on the disk. If not, it holds in memory and is written as soon as that is possible. */
  readonly saved: boolean
}

/** The person for whom the machine makes tokens when it names nobody and GATEWAY_OWNERS does neither. */
export const DEFAULT_SUBJECT = 'owner'

export function listTokens({ apiTokens }: StateParts, { limit }: ActionInput): ActionResult {
  const all = apiTokens.list()
  const listed =
    limit === undefined ? all : all.filter(({ revokedAt }) => revokedAt === undefined).slice(-limit)
  return { answer: { apiTokens: listed.map(describe) } }
}

const TOKEN_MEMBERS = ['name', 'scopes', 'ttlSeconds', 'from', 'rate', 'sub'] as const

/** Prepares a token for the person who asks. The machine may say for whom. */
export function createToken(
  { apiTokens, owners }: StateParts,
  { body }: ActionInput,
  { principal }: Caller,
): () => ActionResult {
  const { name, scopes, ttlSeconds, from, rate, sub } = membersOf(body, TOKEN_MEMBERS)
  if (sub !== undefined && principal !== undefined)
    throw ownerRefusal('bad-request', 'not for oneself')
  const subject = principal?.subject ?? owners[0] ?? DEFAULT_SUBJECT
  const wanted: NewApiToken = {
    name: textIn(name, 'name'),
    subject: sub === undefined ? subject : subjectIn(sub, 'sub'),
    scopes: textsIn(scopes, 'scopes') ?? [],
    addresses: textsIn(from, 'from') ?? [],
    rate: countIn(rate, 'rate'),
    expiresAt: expiryOf(ttlSeconds),
  }
  apiTokens.mustBeNew(wanted)
  return () => {
    const { token, apiToken } = apiTokens.create(wanted)
    const answer: MadeTokenView = { token, ...describe(apiToken) }
    return { answer, changed: [apiToken.name] }
  }
}

/** When a token expires, in milliseconds since 1970. @param ttlSeconds null for never; undefined for the default */
function expiryOf(ttlSeconds: unknown): number | undefined {
  if (ttlSeconds === null) return undefined
  const seconds = countIn(ttlSeconds, 'ttlSeconds')
  return Date.now() + (seconds === undefined ? DEFAULT_API_TOKEN_MS : seconds * 1000)
}

/** Prepares to replace a token. The old one still counts for a while, so that programs can be changed over. */
export function rotateToken(
  { apiTokens }: StateParts,
  { id, body }: ActionInput,
): () => ActionResult {
  const { overlapSeconds } = body === undefined ? {} : membersOf(body, ['overlapSeconds'])
  const seconds = countIn(overlapSeconds, 'overlapSeconds')
  const old = named(apiTokens, id)
  const overlap = seconds === undefined ? DEFAULT_OVERLAP_MS : seconds * 1000
  apiTokens.mustBeRotatable(old, overlap)
  return () => {
    const { token, apiToken } = apiTokens.rotate(old, overlap)
    const answer: RotatedTokenView = { token, ...describe(apiToken), replaces: describe(old) }
    return { answer, changed: [apiToken.name, old.name] }
  }
}

export function revokeToken({ apiTokens }: StateParts, { id }: ActionInput): ActionResult {
  const apiToken = named(apiTokens, id)
  const all = apiTokens.withReplaced(apiToken)
  return revoked(all, apiTokens.revoke(apiToken).isSaved)
}

/** Revokes every token that a text has which others may have read, such as a log or a repository. */
export function revokeLeaked({ apiTokens }: StateParts, { body }: ActionInput): ActionResult {
  const { text } = membersOf(body, ['text'])
  const { tokens, isSaved } = apiTokens.revokeLeaked(textIn(text, 'text'))
  return revoked(tokens, isSaved)
}

function revoked(apiTokens: readonly ApiToken[], saved: boolean): ActionResult {
  const answer: RevokedView = { revoked: apiTokens.map(describe), saved }
  return { answer, changed: apiTokens.map(({ name }) => name), isSaved: saved }
}

/** @throws {GatewayError} `not-found` */
function named(apiTokens: ApiTokens, idOrName: string): ApiToken {
  const apiToken = apiTokens.named(idOrName)
  if (apiToken === undefined) throw ownerRefusal('not-found', 'no such token')
  return apiToken
}
