/** Is what the owner gives a valid entry? Every problem is named at once, and nothing is repaired in silence. */
import { METHODS as NODE_METHODS } from 'node:http'
import { isIPv6, SocketAddress } from 'node:net'
import { CONTROLS } from '../answers/printable.ts'
import { isFieldName, isFieldValue } from '../http/fields.ts'
import { HOP_BY_HOP } from '../http/hop-by-hop.ts'
import { isLoopbackHost, parseAuthority } from '../rules/host.ts'
import { mayDial } from './forward/addresses.ts'
import { mayBeForwarded } from './forward/request-headers.ts'
import { sortedSet } from './leases.ts'
import { prefixProblem } from './path-rule.ts'
import {
  KINDS,
  MAX_VALUE_BYTES,
  MIN_VALUE_BYTES,
  type Kind,
  type Policy,
  type Slot,
} from './policy.ts'
import { isWorkspaceGrant, NOT_SHARED } from './workspace-grants.ts'

/** What a service's preset says about its entry. What the owner gives goes before it. */
export interface EntryDefaults {
  readonly origin: string
  readonly kind: Kind
  readonly slot: Slot
  readonly methods: readonly string[]
  readonly paths: readonly string[]
  readonly headers: readonly string[]
}

/** What is known where an entry is added. */
export interface EntryContext {
  /** The names in VAULT_AGENTS. */
  readonly agents: readonly string[]
  /** Whether other workspaces may be granted. */
  readonly isShared: boolean
  readonly presetOf: (of: Pick<Policy, 'service' | 'origin'>) => EntryDefaults | undefined
}

/** An entry that may be added, or one line for each problem. */
export type EntryInput =
  | { readonly policy: Policy; readonly value: Buffer }
  | { readonly problems: readonly string[] }

const MAX_LIST = 100
const MAX_NOTE_LENGTH = 500
const MAX_TEMPLATE_LENGTH = 200
const SERVICE = /^[a-z0-9][a-z0-9-]{0,39}$/
const HOLE = '{}'

/** Headers that say how a message is framed or routed: neither the slot nor a forwarded header may be one of them. */
const RESERVED: ReadonlySet<string> = new Set([
  ...HOP_BY_HOP,
  ...'connection host content-length accept-encoding expect range if-range date'.split(' '),
  ...'via forwarded x-forwarded-for x-forwarded-host x-forwarded-proto'.split(' '),
])

/** Headers that describe the body. They may be forwarded, as git needs for its packed requests. */
const OF_THE_BODY: ReadonlySet<string> = new Set(['content-type', 'content-encoding'])

/** Headers of other credentials, which a request of an agent may never bring to a service. */
const CREDENTIALS: ReadonlySet<string> = new Set(['x-api-key', 'x-goog-api-key'])

const MEMBERS = new Set(
  'service kind origin slot methods paths headers grants allow_private upgrade decode note remote value'.split(
    ' ',
  ),
)

/** Whether a text may be the name of an entry. */
export function isServiceName(text: string): boolean {
  return SERVICE.test(text)
}

/** Checks the JSON with which the owner adds an entry. No problem ever quotes the credential. */
export function readEntryInput(body: unknown, context: EntryContext): EntryInput {
  if (!isRecord(body)) return { problems: ['the body is no JSON object'] }
  const problems: string[] = []
  const say = (problem: string | undefined): void => {
    if (problem !== undefined) problems.push(problem)
  }
  for (const name of Object.keys(body))
    if (!MEMBERS.has(name)) say(`${shown(name)} is not a member of an entry`)
  const service = textOf(body, 'service', say) ?? ''
  const isText = body['service'] === undefined || typeof body['service'] === 'string'
  if (isText && !isServiceName(service))
    say('service takes lower-case letters, digits and hyphens, at most 40')
  const given = textOf(body, 'origin', say)
  const remote = remoteIn(body, say)
  const named = remote ?? service
  const preset = isServiceName(named)
    ? context.presetOf({ service: named, origin: given ?? '' })
    : undefined
  const kind = kindOf(body, preset, say)
  const isRemote = kind === 'workspace'
  if (remote !== undefined && !isRemote)
    say('remote (--remote) takes an entry of the kind workspace')
  const allowPrivate = flagOf(body, 'allow_private', say)
  // Its preset has the service's own origin, and this is the other workspace's.
  const origin = given ?? (isRemote ? undefined : preset?.origin)
  say(originProblem(origin, allowPrivate))
  const slot = slotOf(body, preset, kind, say)
  const policy: Policy = {
    ...{ service, kind, origin: origin ?? '', slot, allowPrivate },
    methods: methodsOf(body, preset, say),
    paths: pathsOf(body, preset, say),
    headers: headersOf(body, { preset, slot }, say),
    grants: grantsOf(body, kind, context, say),
    upgrade: upgradeOf(body, kind, say),
    decode: flagOf(body, 'decode', say),
    suspended: false,
    note: noteOf(body, say),
    ...(remote === undefined ? {} : { remote }),
  }
  const value = readValue(body['value'], kind)
  if ('problem' in value) say(value.problem)
  return problems.length > 0 || 'problem' in value ? { problems } : { policy, value: value.value }
}

/** Checks a credential. A final line break, as `echo` and editors write, is cut; any other is a problem. */
export function readValue(given: unknown, kind: Kind): { value: Buffer } | { problem: string } {
  if (typeof given !== 'string') return { problem: 'value is not set; it is the credential' }
  const text = given.replace(/\r?\n$/, '')
  const value = Buffer.from(text, 'utf8')
  if (value.length < MIN_VALUE_BYTES || value.length > MAX_VALUE_BYTES)
    return {
      problem: `value (the credential, from standard input) has ${value.length} bytes; it takes ${MIN_VALUE_BYTES} to ${MAX_VALUE_BYTES}, because a shorter one would be found in every answer, and a longer one fits no header`,
    }
  if (/[\r\n]/.test(text)) return { problem: 'value has a line break; it takes one line' }
  if (kind === 'basic') {
    // A password may have any letters (RFC 7617), and no control characters.
    return text.search(CONTROLS) < 0 ? { value } : { problem: 'value has a control character' }
  }
  if (!/^[\x21-\x7e]*$/.test(text))
    return { problem: 'value has a space, a control character or one that is not ASCII' }
  if (kind === 'workspace' && !text.startsWith('hub_'))
    return { problem: 'value is no token of a workspace, which begins with hub_' }
  return { value }
}

/** Checks the names of agents that are to be granted. @returns the problems */
export function grantProblems(
  names: readonly string[],
  kind: Kind,
  { agents, isShared }: Pick<EntryContext, 'agents' | 'isShared'>,
): string[] {
  return names.flatMap((name) => {
    if (agents.includes(name)) return []
    if (!isWorkspaceGrant(name))
      return [`${shown(name)} is no agent of VAULT_AGENTS (${agents.join(', ') || 'empty'})`]
    if (!isShared) return [`${shown(name)} is another workspace, and this vault ${NOT_SHARED}`]
    return kind === 'workspace'
      ? [`${shown(name)} is another workspace, and what one workspace shares is not shared on`]
      : []
  })
}

type Body = Readonly<Record<string, unknown>>
type Say = (problem: string | undefined) => void

function isRecord(value: unknown): value is Body {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** A text of a stranger in a problem: quoted, and not longer than 100 characters. */
function shown(text: string): string {
  return JSON.stringify(text.slice(0, 100))
}

function textOf(body: Body, name: string, say: Say): string | undefined {
  const value = body[name]
  if (value === undefined || typeof value === 'string') return value
  say(`${name} is no text`)
  return undefined
}

function flagOf(body: Body, name: string, say: Say): boolean {
  const value = body[name]
  if (value !== undefined && typeof value !== 'boolean') say(`${name} takes true or false`)
  return value === true
}

/** A list of texts; the preset's, when the body has none; undefined when it is none, which is said. */
function listOf(
  body: Body,
  name: string,
  say: Say,
  fallback: readonly string[] = [],
): readonly string[] | undefined {
  const value = body[name]
  if (value === undefined) return fallback
  if (!Array.isArray(value) || value.some((one) => typeof one !== 'string')) {
    say(`${name} is no list of texts`)
    return undefined
  }
  if (value.length > MAX_LIST) {
    say(`${name} has more than ${MAX_LIST} elements`)
    return undefined
  }
  return value as string[]
}

function kindOf(body: Body, preset: EntryDefaults | undefined, say: Say): Kind {
  const text = textOf(body, 'kind', say) ?? preset?.kind ?? 'header'
  const kind = KINDS.find((one) => one === text)
  if (kind === undefined) say(`kind ${shown(text)} is none of ${KINDS.join(', ')}`)
  return kind ?? 'header'
}

/** What is wrong with an origin. It must be written as `new URL(…).origin` would, so that everybody reads the same one. */
function originProblem(origin: string | undefined, allowPrivate: boolean): string | undefined {
  const form = 'it takes scheme, host and port alone, such as https://api.example.com'
  if (origin === undefined) return `origin is not set; ${form}`
  const [, scheme, authorityText = ''] = /^(https?):\/\/([^/?#@\\\s]+)$/.exec(origin) ?? []
  const authority = parseAuthority(authorityText)
  if (scheme === undefined || authority === undefined) return `origin ${shown(origin)}: ${form}`
  const { host, port } = authority
  const isDefault = Number(port) === (scheme === 'https' ? 443 : 80)
  const exact = `${scheme}://${exactHost(host)}${port === undefined || isDefault ? '' : `:${Number(port)}`}`
  if (exact !== origin) return `origin ${shown(origin)} is written as ${exact}`
  if (scheme === 'http' && !(allowPrivate && authority.isIpLiteral && isLoopbackHost(authority)))
    return `origin ${shown(origin)} is not https, which only a loopback address may be, with allow_private (--allow-private)`
  const bare = host.replace(/^\[(.*)\]$/, '$1')
  if (authority.isIpLiteral && !mayDial(bare, allowPrivate))
    return `origin ${shown(origin)} has an address that is not public${mayDial(bare, true) ? ', which allow_private (--allow-private) allows' : ' and is never dialled'}`
  return undefined
}

function exactHost(host: string): string {
  const bare = host.replace(/^\[(.*)\]$/, '$1')
  return isIPv6(bare) ? `[${new SocketAddress({ address: bare, family: 'ipv6' }).address}]` : host
}

/** Where the gateway of another workspace takes its token. */
const WORKSPACE_SLOT: Slot = { header: 'authorization', template: 'Bearer {}' }

/** The slot, written as `Authorization: Bearer {}`. */
function slotOf(body: Body, preset: EntryDefaults | undefined, kind: Kind, say: Say): Slot {
  const text = textOf(body, 'slot', say)
  if (kind === 'workspace' && text === undefined) return WORKSPACE_SLOT
  const slot = text === undefined ? preset?.slot : parsedSlot(text)
  if (slot !== undefined) {
    say(slotProblem(slot, kind))
    return slot
  }
  say(
    "slot (--header) takes a header and a template with one hole, such as 'Authorization: Bearer {}'",
  )
  return { header: '', template: '' }
}

function parsedSlot(text: string): Slot | undefined {
  const [, name, template] = /^([^\s:]+): ?(.*)$/s.exec(text) ?? []
  if (name === undefined || template === undefined) return undefined
  return { header: name.toLowerCase(), template }
}

function slotProblem({ header, template }: Slot, kind: Kind): string | undefined {
  if (!isFieldName(header) || header.length > 100)
    return 'slot (--header): the header is no name of a header'
  if (RESERVED.has(header) || OF_THE_BODY.has(header) || header.startsWith('sec-'))
    return `slot (--header): ${header} says how a message is sent, and takes no credential`
  const holes = template.split(HOLE).length - 1
  if (holes !== 1)
    return `slot (--header): the template has ${holes} holes {}, and takes exactly one`
  if (template.length > MAX_TEMPLATE_LENGTH)
    return `slot (--header): the template is longer than ${MAX_TEMPLATE_LENGTH} characters`
  if (!isFieldValue(template) || !/^[\x20-\x7e]*$/.test(template) || template.trim() !== template)
    return 'slot (--header): the template takes visible ASCII characters, with no space at its ends'
  const { header: own, template: form } = WORKSPACE_SLOT
  if (kind === 'workspace' && (header !== own || template !== form))
    return 'slot (--header): the kind workspace takes Authorization: Bearer {}'
  if (kind === 'basic' && (header !== 'authorization' || !/^[^:]*:\{\}$/.test(template)))
    return 'slot (--header): the kind basic takes Authorization: USER:{}'
  return undefined
}

/** Methods that a request to an entry may have. The others make tunnels or echo what they get. */
const METHODS: ReadonlySet<string> = new Set(
  NODE_METHODS.filter((one) => one !== 'CONNECT' && one !== 'TRACE'),
)

function methodsOf(body: Body, preset: EntryDefaults | undefined, say: Say): readonly string[] {
  const methods = listOf(body, 'methods', say, preset?.methods)
  if (methods === undefined) return []
  if (methods.length === 0) say('methods is empty; it takes those that may be used, such as GET')
  for (const one of methods)
    if (!METHODS.has(one)) say(`methods: ${shown(one)} is no method that may be used`)
  return sortedSet(methods)
}

function pathsOf(body: Body, preset: EntryDefaults | undefined, say: Say): readonly string[] {
  const paths = listOf(body, 'paths', say, preset?.paths)
  if (paths === undefined) return []
  if (paths.length === 0)
    say('paths is empty; it takes the prefixes that may be used, and / for all')
  for (const one of paths) {
    const problem = prefixProblem(one)
    if (problem !== undefined) say(`paths: ${shown(one)} ${problem}`)
  }
  return sortedSet(paths)
}

function headersOf(
  body: Body,
  { preset, slot }: { preset: EntryDefaults | undefined; slot: Slot },
  say: Say,
): readonly string[] {
  const headers = (listOf(body, 'headers', say, preset?.headers) ?? []).map((one) =>
    one.toLowerCase(),
  )
  for (const one of headers) {
    if (!isFieldName(one) || one.length > 100) say(`headers: ${shown(one)} is no name of a header`)
    else if (isNeverForwarded(one) || one === slot.header)
      say(`headers: ${one} is never forwarded from an agent`)
  }
  return sortedSet(headers)
}

function isNeverForwarded(name: string): boolean {
  return !mayBeForwarded(name) || RESERVED.has(name) || CREDENTIALS.has(name)
}

function grantsOf(body: Body, kind: Kind, context: EntryContext, say: Say): readonly string[] {
  const grants = listOf(body, 'grants', say) ?? []
  for (const problem of grantProblems(grants, kind, context)) say(`grants: ${problem}`)
  return sortedSet(grants)
}

function upgradeOf(body: Body, kind: Kind, say: Say): boolean {
  const isWanted = flagOf(body, 'upgrade', say)
  if (isWanted && kind === 'workspace')
    say('upgrade (--upgrade): WebSockets do not pass from one workspace to another')
  return isWanted
}

/** The name of the service in the other workspace; undefined when it is the entry's own. */
function remoteIn(body: Body, say: Say): string | undefined {
  const remote = textOf(body, 'remote', say)
  if (remote === undefined || isServiceName(remote)) return remote
  say('remote (--remote) takes lower-case letters, digits and hyphens, at most 40')
  return undefined
}

function noteOf(body: Body, say: Say): string {
  const note = textOf(body, 'note', say) ?? ''
  if (note.length > MAX_NOTE_LENGTH) say(`note is longer than ${MAX_NOTE_LENGTH} characters`)
  if (note.search(CONTROLS) >= 0) say('note has a control character')
  return note
}
