/** What does an agent get of the head of an answer? All but what ends at this hop, scrubbed, when the body can be scrubbed too. */
import { fieldLines, isFieldName, isFieldValue, listElements } from '../../http/fields.ts'
import { HOP_BY_HOP } from '../../http/hop-by-hop.ts'
import type { Automaton } from '../scrub/automaton.ts'
import { scrubText } from '../scrub/scrubber.ts'
import { VAULT_ERROR_FIELD, VaultError } from '../vault-errors.ts'
import { isDecodable, type Coding } from './decode.ts'

/** The head of an answer, from a service or for an agent. */
export interface Head {
  readonly status: number
  readonly message: string
  readonly raw: readonly string[]
}

/** The head for the agent. */
export interface AgentHead extends Head {
  /** How the body must be decoded; undefined when it comes as it is. */
  readonly coding: Coding | undefined
  readonly hasBody: boolean
  /** How many forms of a credential were masked in the head. */
  readonly hits: number
}

/**
 * Dropped because: a session cookie is a credential too, which the agent would hold then, and could not send, because `Cookie` is not
 * forwarded; Alt-Svc and the like send clients to another address than the vault's; only the vault may use the mark of its refusals.
 */
const DROPPED = new Set([
  ...HOP_BY_HOP,
  ...['connection', 'set-cookie', 'set-cookie2', 'alt-svc', 'strict-transport-security'],
  VAULT_ERROR_FIELD.toLowerCase(),
])

/**
 * Builds the head for the agent.
 * @param decode whether an encoded answer is decoded
 * @throws {VaultError} `answer-encoded`, or `answer-malformed`
 */
export function agentHead(
  head: Head,
  method: string,
  decode: boolean,
  automaton: Automaton,
): AgentHead {
  const hasBody = method !== 'HEAD' && head.status !== 204 && head.status !== 304
  const coding = hasBody ? codingOf(head.raw, decode) : undefined
  const left = new Set(fieldLines(head.raw, 'connection').flatMap(listElements))
  left.delete('content-length')
  // The length of the decoded body is not known.
  if (coding !== undefined)
    for (const name of ['content-encoding', 'content-length']) left.add(name)
  if (head.status === 204) left.add('content-length') // RFC 9110 section 8.6
  const message = scrubText(automaton, head.message)
  let { hits } = message
  const scrub = (text: string) => {
    const scrubbed = scrubText(automaton, text)
    hits += scrubbed.hits
    return scrubbed.text
  }
  const raw: string[] = []
  for (let i = 0; i < head.raw.length; i += 2) {
    const name = head.raw[i] ?? ''
    const key = name.toLowerCase()
    if (!DROPPED.has(key) && !left.has(key)) raw.push(scrub(name), scrub(head.raw[i + 1] ?? ''))
  }
  refuseMalformed(message.text, raw)
  return { status: head.status, message: message.text, raw, coding, hasBody, hits }
}

/** @throws {VaultError} when the body is encoded and is not to be decoded, or cannot be */
function codingOf(raw: readonly string[], decode: boolean): Coding | undefined {
  const transfer = fieldLines(raw, 'transfer-encoding').flatMap(listElements)
  const codings = fieldLines(raw, 'content-encoding')
    .flatMap(listElements)
    .filter((coding) => coding !== 'identity')
  const [coding] = codings
  if (coding === undefined && transfer.every((name) => name === 'chunked')) return undefined
  if (decode && transfer.every((name) => name === 'chunked') && codings.length === 1)
    if (isDecodable(coding)) return coding
  throw new VaultError(
    'answer-encoded',
    decode
      ? 'the answer is encoded in a way that the vault cannot decode, so a credential in it would not be found'
      : 'the service encoded its answer although identity was asked for, so a credential in it would not be found; the owner lets the vault decode the answers when the entry is added with --decode',
  )
}

function refuseMalformed(message: string, raw: readonly string[]): void {
  const isFine =
    isFieldValue(message) &&
    raw.every((text, i) => (i % 2 === 0 ? isFieldName(text) : isFieldValue(text)))
  if (!isFine) throw new VaultError('answer-malformed', 'the head of the answer is malformed')
}
