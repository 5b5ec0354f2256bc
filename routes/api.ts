/**
 * What does an owner's page, or an owner's program, ask and change? The JSON API below `/_gateway/v1`: one route for each of the
 * owner's actions (src/admin/owner-actions.ts).
 */
import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { Logger } from 'pino'
import type { Caller } from '../src/admin/caller.ts'
import { ownerRefusal } from '../src/admin/members.ts'
import type { FactorProof } from '../src/identity/second-factor/verdicts.ts'
import { siteOf } from './factor-forms.ts'
import type { ActionInput, LiveParts, OwnerAction } from '../src/admin/action.ts'
import { OWNER_ACTIONS, type ActionName } from '../src/admin/owner-actions.ts'
import { perform } from '../src/admin/perform.ts'
import { GatewayError } from '../src/answers/errors.ts'
import { OWNERS_API } from '../src/answers/pages/paths.ts'
import { ownHeaders, withBody } from '../src/answers/problem.ts'
import type { Watchdog } from '../src/limits/watchdog.ts'
import { takeJson } from './json-bodies.ts'
import { refuseOtherMethods } from './other-methods.ts'

/** With what the owner's actions are done. */
export interface ActionOptions {
  readonly parts: LiveParts
  readonly logger: Logger
  /** Takes one from the budget of the client address. @returns the refusal when nothing was left */
  readonly payForGuess: (request: FastifyRequest) => GatewayError | undefined
}

/** What the routes need besides the request. */
interface ApiOptions extends ActionOptions {
  /** Ends a request whose body arrives too slowly. */
  readonly watchdog: Watchdog
}

const ACTIONS = Object.entries(OWNER_ACTIONS) as ReadonlyArray<[ActionName, OwnerAction<LiveParts>]>

/** The largest request body in bytes. */
const MAX_BODY_BYTES = 64 * 1024

export default async function api(
  app: FastifyInstance,
  { watchdog, ...options }: ApiOptions,
): Promise<void> {
  takeJson(app, MAX_BODY_BYTES, watchdog)

  const allowed = new Map<string, string[]>()
  for (const [name, action] of ACTIONS) {
    if (action.who === 'machine') continue
    const url = `${OWNERS_API}${action.path}`
    const methods = action.method === 'GET' ? ['GET', 'HEAD'] : [action.method]
    allowed.set(url, [...(allowed.get(url) ?? []), ...methods])
    app.route<{ Params: { id?: string; agent?: string } }>({
      url,
      method: action.method,
      config: { ownPages: true }, // an allowed foreign page must not make itself a token that outlives the session
      async handler(request, reply) {
        request.exchange.outcome.stage = 'owner'
        const { body: members, proof } = split(request.body)
        const { id = '', agent } = request.params
        const input = { id, agent, body: members }
        const caller = { ...callerOf(request), proof }
        const answer = await performFor(request, name, { input, caller }, options)
        const body = `${JSON.stringify(answer)}\n`
        const headers = ownHeaders(request.id)
        app.writeAnswer(request, reply, withBody(200, headers, 'application/json', body))
        return reply
      },
    })
  }
  for (const [url, methods] of allowed) refuseOtherMethods(app, url, methods, false)
}

/**
 * Does an owner's action for a request. A refused factor with it spends the address's budget.
 * @returns what the action returns, as JSON
 * @throws {GatewayError} as {@link perform} does
 */
export function performFor(
  request: FastifyRequest,
  name: ActionName,
  asked: { readonly input: ActionInput; readonly caller: Caller },
  { parts, logger, payForGuess }: ActionOptions,
): Promise<object> {
  const action: OwnerAction<LiveParts> = OWNER_ACTIONS[name]
  return perform(name, action, {
    ...{ parts, logger, ...asked },
    payForGuess: () => payForGuess(request),
  })
}

/** Who sent a request that has passed the stage `authentication`. */
export function callerOf({ exchange }: FastifyRequest): Caller {
  const { principal, credential, client } = exchange
  // The caller without a principal is the machine's owner, who may do everything. No request over TCP is from them.
  if (principal === undefined) throw new GatewayError('sign-in-required')
  const { kind } = principal.session
  // A ticket of the login service may stand in the cookie. An API token there is still a program's.
  const isBrowser = kind === 'browser' || (kind === 'program' && credential?.kind === 'cookie')
  return { door: 'api', principal, isBrowser, address: client?.address, site: siteOf(exchange) }
}

/**
 * The second factor of a body, apart from the rest: the member `factor`, with a `code` or a `passkey`. A body with nothing else is
 * none, for the actions that take none.
 */
function split(body: unknown): { body: unknown; proof: FactorProof | undefined } {
  if (typeof body !== 'object' || body === null || !('factor' in body))
    return { body, proof: undefined }
  const { factor, ...rest } = body
  return { body: Object.keys(rest).length === 0 ? undefined : rest, proof: proofOf(factor) }
}

/** @throws {GatewayError} `bad-request` */
function proofOf(factor: unknown): FactorProof {
  if (typeof factor !== 'object' || factor === null || Object.keys(factor).length !== 1)
    throw NOT_ONE_FACTOR
  if ('code' in factor && typeof factor.code === 'string')
    return { kind: 'code', code: factor.code }
  if ('passkey' in factor) return { kind: 'passkey', response: factor.passkey }
  throw NOT_ONE_FACTOR
}

const NOT_ONE_FACTOR = ownerRefusal('bad-request', 'one factor')
