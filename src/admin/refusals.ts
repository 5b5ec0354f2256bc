/** What was refused lately, and why? The records of recent requests, without those that passed or were led elsewhere. */
import type { Decision } from '../observe/record.ts'
import type { ActionResult, LiveParts } from './action.ts'

/** A request that was refused, or failed, as an owner sees it. */
export interface RefusalView {
  /** The request id, which `workspace-gateway explain` takes. */
  readonly id: string
  /** ISO 8601 */
  readonly time: string
  readonly client: string | null
  readonly method: string | null
  /** The path without its query. */
  readonly path: string | null
  readonly route: string | null
  readonly stage: string
  readonly status: number
  readonly code: string
  /** Why, in the words of the log. */
  readonly reason: string | null
  /** `sub`, or the name of an API token. */
  readonly user: string | null
}

/** How many are listed, the newest first. */
const MAX_LISTED = 50

export function listRefusals({ decisions }: LiveParts): ActionResult {
  return { answer: { refusals: decisions.newestRefusals(MAX_LISTED).map(viewOf) } }
}

function viewOf(decision: Decision): RefusalView {
  const { id, at, client, method, path, route, stage, status, code, reason, user, token } = decision
  return {
    id,
    time: new Date(at).toISOString(),
    client: client ?? null,
    method: method ?? null,
    path: path ?? null,
    route: route ?? null,
    ...{ stage, status },
    code: code ?? '',
    reason: reason ?? null,
    user: token ?? user ?? null,
  }
}
