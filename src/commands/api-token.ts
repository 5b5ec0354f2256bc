/** `workspace-gateway api-token`: which programs may come in with a token of their own, and with which no longer? */
import { parseArgs } from 'node:util'
import type { MadeTokenView, RevokedView, RotatedTokenView } from '../admin/api-token-actions.ts'
import type { Environment } from '../config/load.ts'
import { tokenAdvice, type ListedApiToken } from '../identity/api-token-list.ts'
import { API_TOKEN_CANDIDATE, API_TOKEN_LENGTH } from '../identity/api-tokens.ts'
import { parseDuration } from './duration.ts'
import type { Io } from './io.ts'
import { doAction, exitCodeOf, NOT_SAVED, wrongUsage } from './owner.ts'
import { printable } from '../answers/printable.ts'
import { jsonText, minuteText, tableText } from './printable.ts'

/** Bytes that a command reads, in pieces. */
type Input = AsyncIterable<Buffer | string>

/**
 * Makes, lists, revokes or replaces API tokens. A new token is all that standard output gets, so that `TOKEN=$(…)` works.
 * @returns 0; 1 when it was refused; 64 for wrong usage; 69 when the gateway cannot be asked or another process writes the
 * state; 78 for an invalid setting
 * @throws an error with a code `ERR_PARSE_ARGS_…` for unknown arguments
 */
export async function apiToken(
  args: readonly string[],
  env: Environment,
  io: Io,
  input: Input = process.stdin,
): Promise<number> {
  const [verb, ...rest] = args
  const say = (text: string) => io.err(`workspace-gateway: ${printable(text)}\n`)
  const context = { args: rest, env, out: (text: string) => io.out(text), say, input }
  return exitCodeOf(io, async () => {
    if (verb === 'create') await create(context)
    else if (verb === 'list') await list(context)
    else if (verb === 'revoke') await revoke(context)
    else if (verb === 'rotate') await rotate(context)
    else throw usage('api-token takes "create", "list", "revoke" or "rotate"')
  })
}

/** What a subcommand gets. */
interface Context {
  readonly args: string[]
  readonly env: Environment
  readonly out: (text: string) => void
  /** Writes a line to standard error. */
  readonly say: (text: string) => void
  readonly input: Input
}

const usage = (message: string) => wrongUsage('api-token', message)

async function create({ args, env, out, say }: Context): Promise<void> {
  const { values } = parseArgs({
    args,
    options: {
      name: { type: 'string' },
      scope: { type: 'string', multiple: true },
      ttl: { type: 'string' },
      'no-expiry': { type: 'boolean', default: false },
      from: { type: 'string', multiple: true },
      rate: { type: 'string' },
      sub: { type: 'string' },
    },
  })
  const { name, scope: scopes, ttl, from, rate, sub, 'no-expiry': noExpiry } = values
  if (name === undefined) throw usage('api-token create needs --name NAME')
  if (noExpiry && ttl !== undefined) throw usage('--ttl and --no-expiry exclude each other')
  const ttlSeconds = noExpiry ? null : ttl === undefined ? undefined : durationOf('--ttl', ttl)
  const addresses = from?.flatMap((text) => text.split(',')).map((text) => text.trim())
  const body = { name, scopes, ttlSeconds, from: addresses, rate: rateOf(rate), sub }
  const made = (await doAction('create-api-token', env, { body })) as MadeTokenView
  out(`${made.token}\n`)
  say(`made ${describe(made)}. It is shown once`)
  if (made.rate === null) say(SHARED_BUDGET)
}

const SHARED_BUDGET =
  'it shares the requests of its client address (10 a minute by default) with everybody there; --rate N gives a token N a minute of its own'

/** A token in words. */
function describe({ name, last4, sub, scopes, from, expiresAt }: ListedApiToken): string {
  const where = from.length === 0 ? '' : `, from ${from.join(', ')}`
  const until = expiresAt === null ? 'without expiry' : `until ${minuteText(expiresAt)}`
  return `${name} (…${last4}) for ${sub}: ${scopes.join(', ')}${where}, ${until}`
}

function durationOf(option: string, text: string): number {
  const seconds = parseDuration(text)
  if (seconds === undefined)
    throw usage(`${option} "${text}" is not a duration such as 90s, 15m, 1h or 7d`)
  return seconds
}

function rateOf(text: string | undefined): number | undefined {
  if (text === undefined) return undefined
  if (!/^[1-9][0-9]{0,8}$/.test(text))
    throw usage(`--rate "${text}" is not a number of requests a minute`)
  return Number(text)
}

async function list({ args, env, out, say }: Context): Promise<void> {
  const { values } = parseArgs({ args, options: { json: { type: 'boolean', default: false } } })
  const { apiTokens } = (await doAction('list-api-tokens', env)) as { apiTokens: ListedApiToken[] }
  if (values.json) out(jsonText(apiTokens))
  else if (apiTokens.length === 0) say('there are no API tokens')
  else out(tableText(COLUMNS, apiTokens.map(rowOf)))
  const { exposed, neverUsed, unused } = tokenAdvice(apiTokens, Date.now())
  const inAddress = 'was in an address, and others may have read it'
  warn(
    `${inAddress}: rotate it`,
    exposed.filter(({ replacedBy }) => replacedBy === null),
  )
  warn(
    `${inAddress}: revoke it, its successor is there`,
    exposed.filter(({ replacedBy }) => replacedBy !== null),
  )
  warn('was never used', neverUsed)
  warn('was not used for 90 days', unused)

  function warn(what: string, tokens: readonly ListedApiToken[]): void {
    for (const { name } of tokens) say(`${name} ${what}`)
  }
}

const COLUMNS =
  'NAME,ID,LAST4,SUB,SCOPES,FROM,RATE,CREATED,EXPIRES,LAST USED,LAST FROM,STATE'.split(',')

function rowOf(token: ListedApiToken): string[] {
  const { id, name, last4, sub, scopes, from, rate, createdAt, expiresAt, lastUsedAt } = token
  return [
    ...[name, id, last4, sub, scopes.join(','), from.join(',') || '-', rate?.toString() ?? '-'],
    ...[minuteText(createdAt), expiresAt === null ? 'never' : minuteText(expiresAt)],
    ...[minuteText(lastUsedAt), token.lastUsedFrom ?? '-', stateOf(token)],
  ]
}

function stateOf({ revokedAt, expiresAt, exposedAt, replacedBy }: ListedApiToken): string {
  if (revokedAt !== null) return 'revoked'
  if (expiresAt !== null && Date.parse(expiresAt) <= Date.now()) return 'expired'
  if (exposedAt !== null) return 'exposed'
  return replacedBy === null ? 'in force' : 'replaced'
}

async function revoke({ args, env, out, say, input }: Context): Promise<void> {
  // A forgotten "-" is told as what is missing, and not as parseArgs tells it.
  const given = args.at(-1) === '--leaked' ? [...args, ''] : args
  const { values, positionals } = parseArgs({
    args: given,
    allowPositionals: true,
    options: { leaked: { type: 'string' } },
  })
  const [name, ...more] = positionals
  const isOne = name !== undefined && name !== '' && more.length === 0
  if (values.leaked === undefined ? !isOne : values.leaked !== '-' || positionals.length > 0)
    throw usage(
      'api-token revoke takes a NAME or an ID, or --leaked - and a text on standard input',
    )
  const answers =
    name === undefined
      ? await revokeLeaked(env, input)
      : [(await doAction('revoke-api-token', env, { id: name })) as RevokedView]
  const revoked = new Map(answers.flatMap((one) => one.revoked).map((one) => [one.id, one]))
  for (const { name: one, last4 } of revoked.values())
    out(`${printable(one)} (…${last4}) revoked\n`)
  if (revoked.size === 0) say('the text has no token of this workspace')
  if (answers.some(({ saved }) => !saved)) say(NOT_SAVED)
}

/** How many texts of the form of a token one request carries. They fit into the largest body. */
const BATCH = 1000

/** Revokes the tokens in a text of any length. Only what has the form of a token is sent to the gateway. */
async function revokeLeaked(env: Environment, input: Input): Promise<RevokedView[]> {
  const answers: RevokedView[] = []
  const found = new Set<string>()
  const send = async (atLeast: number) => {
    while (found.size >= atLeast) {
      const batch = [...found].slice(0, BATCH)
      for (const candidate of batch) found.delete(candidate)
      const question = { body: { text: batch.join('\n') } }
      answers.push((await doAction('revoke-leaked-api-tokens', env, question)) as RevokedView)
    }
  }
  let text = ''
  for await (const piece of input) {
    text += typeof piece === 'string' ? piece : piece.toString('latin1')
    for (const [, candidate = ''] of text.matchAll(API_TOKEN_CANDIDATE)) found.add(candidate)
    await send(BATCH)
    text = text.slice(1 - API_TOKEN_LENGTH) // a token may begin in this piece and end in the next
  }
  await send(1)
  return answers
}

async function rotate({ args, env, out, say }: Context): Promise<void> {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: { overlap: { type: 'string' } },
  })
  const [name, ...more] = positionals
  if (name === undefined || name === '' || more.length > 0)
    throw usage('api-token rotate takes one NAME or ID')
  const { overlap } = values
  const overlapSeconds =
    overlap === undefined || overlap === '0' ? Number(overlap) : durationOf('--overlap', overlap)
  const body = overlap === undefined ? {} : { overlapSeconds }
  const made = (await doAction('rotate-api-token', env, { id: name, body })) as RotatedTokenView
  const { replaces: old } = made
  out(`${made.token}\n`)
  say(`made ${describe(made)}. It is shown once`)
  say(
    `the old one (…${old.last4}) is now ${old.name} and counts until ${minuteText(old.expiresAt)}`,
  )
}
