/** Why did a request get its response? A record is put into words, stage by stage, for `workspace-gateway explain`. */
import type { Decision } from './record.ts'
import { FACTOR_ADVICE } from '../identity/second-factor/factor-advice.ts'
import { STAGES, type Stage, type TerminalArrival } from '../request/outcome.ts'

/** The result of one stage. */
export interface Step {
  readonly stage: Stage
  readonly result: 'passed' | 'answered' | 'refused' | 'failed' | 'not reached'
  readonly detail: string
}

/** A record in words. It is for the machine's owner alone, since it names clients and users. */
export interface Explanation {
  readonly id: string
  readonly time: string
  readonly ms: number
  readonly upstreamMs: number | undefined
  readonly client: string | undefined
  readonly peer: string | undefined
  readonly scheme: string | undefined
  readonly host: string | undefined
  readonly method: string | undefined
  readonly path: string | undefined
  readonly route: string | undefined
  readonly websocket: boolean
  /** How a WebSocket got its terminal. */
  readonly terminal: TerminalArrival | undefined
  readonly user: string | undefined
  /** The name of an API token. */
  readonly token: string | undefined
  readonly trace: string | undefined
  /** 0 when the client closed the connection before there was a response. */
  readonly status: number
  readonly code: string | undefined
  readonly reason: string | undefined
  readonly chain: readonly Step[]
}

const UPSTREAM = STAGES.indexOf('upstream')

/** Puts a record into words, stage by stage. */
export function explainDecision(decision: Decision): Explanation {
  const { id, at, ms, upstreamMs, client, peer, scheme, host, method, path } = decision
  const { route, websocket, terminal, user, token, trace, stage, status, code, reason } = decision
  const answeredAt = STAGES.indexOf(stage)
  // The last stage is the service, or the route of the gateway itself that responded in place of a service.
  const stages = STAGES.filter((_, i) => i < UPSTREAM || i === Math.max(answeredAt, UPSTREAM))
  const end = Math.min(answeredAt, UPSTREAM)
  const chain = stages.map((name, i): Step => {
    if (i < end) return { stage: name, result: 'passed', detail: FINDINGS[name]?.(decision) ?? '' }
    if (i > end) return { stage: name, result: 'not reached', detail: '' }
    return { stage: name, result: endOf(decision), detail: answerOf(decision) }
  })
  return {
    id,
    time: new Date(at).toISOString(),
    ms,
    upstreamMs,
    client,
    peer,
    scheme,
    host,
    method,
    path,
    route,
    websocket,
    terminal,
    user,
    token,
    trace,
    status,
    code,
    reason,
    chain,
  }
}

/** The stages that answer every request that reaches them. */
type LastStage =
  | 'upstream'
  | 'health'
  | 'sign-in'
  | 'renew'
  | 'sign-out'
  | 'second-factor'
  | 'asset'
  | 'probe'
  | 'owner'

type Finding = (decision: Decision) => string

/** What a stage found out about a request that it let pass. The compiler names a stage that has no finding. */
const FINDINGS: Partial<Record<Stage, Finding>> = {
  listener: ({ method, websocket }) => `${method}${websocket ? ', to become a WebSocket' : ''}`,
  target: ({ path, route }) => `${path} belongs to ${route}`,
  'client-address': clientFinding,
  host: ({ host }) => host ?? 'any host is served here',
  'sensitive-files': () => 'names none',
  credential: credentialFinding,
  'rate-limit': ({ budget }) => (budget === undefined ? 'not counted' : budgetFinding(budget)),
  authentication: ({ user }) => (user === undefined ? 'open to everybody' : `signed in as ${user}`),
} satisfies Record<Exclude<Stage, LastStage>, Finding>

function clientFinding({ client, peer, viaProxy, relay }: Decision): string {
  if (relay !== undefined) return `${client}, a paired device, by way of ${relay}`
  if (client === 'link') return 'the link itself'
  if (!viaProxy) return `${client}, the TCP peer, which is no trusted proxy`
  if (peer === undefined) return `${client}, by way of a Unix socket, whose peers are trusted`
  const proxy = peer.replace(/^::ffff:(?=[0-9.]+$)/i, '')
  return proxy === client
    ? `${client}, a trusted proxy that named nobody else`
    : `${client}, told by the trusted proxy ${proxy}`
}

function credentialFinding(decision: Decision): string {
  const { credential, credentialError, credentialReason, token } = decision
  if (credential === undefined) return 'none of ours'
  const kind = { header: 'X-Workspace-Token', bearer: 'Authorization', cookie: 'session cookie' }[
    credential
  ]
  const named = token === undefined ? kind : `${kind}, API token ${token}`
  if (credentialError === undefined) return `${named}, good`
  return `${named}, ${credentialError}${credentialReason === undefined ? '' : ` (${credentialReason})`}`
}

/** A RateLimit header such as `"address";r=9;t=60` in words. */
function budgetFinding(field: string): string {
  const [, name = '', left = '', seconds = ''] = /^"(\w+)";r=(\d+);t=(\d+)$/.exec(field) ?? []
  return `${name} budget, ${left} left for ${seconds} s`
}

function endOf({ status, code }: Decision): Step['result'] {
  if (status === 0) return 'failed'
  if (code === undefined || status < 400) return 'answered'
  return status >= 500 ? 'failed' : 'refused'
}

/** How a terminal was given, in words. */
const SHELLS = {
  new: 'a new shell',
  back: 'the shell that waited',
  'taken-over': 'a shell that another connection had until then',
} as const satisfies Record<TerminalArrival, string>

/** The reason, and what the machine's owner can do when a second factor was refused. */
function reasonOf({ code, reason }: Decision): string | undefined {
  const advice: Readonly<Record<string, string>> = FACTOR_ADVICE
  return code === 'step-up-required' && reason !== undefined && Object.hasOwn(advice, reason)
    ? `${reason} (${advice[reason]})`
    : reason
}

/** The response in words: its status, its error code or service, and the reason. */
function answerOf(decision: Decision): string {
  const { status, code, stage, route, token, terminal } = decision
  const answer = [
    status === 0 ? 'no answer' : status,
    code ?? (stage === 'upstream' && status > 0 ? `from ${route}` : ''),
  ]
  const budget = stage === 'rate-limit' && decision.budget !== undefined ? decision.budget : ''
  const exposed = stage === 'credential' && token !== undefined ? `API token ${token}` : ''
  const shell = terminal === undefined ? undefined : SHELLS[terminal]
  return [
    answer.join(' ').trim(),
    shell,
    reasonOf(decision),
    exposed,
    budget === '' ? '' : budgetFinding(budget),
  ]
    .filter((part) => part !== undefined && part !== '')
    .join('; ')
}
