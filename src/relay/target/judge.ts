/** May a device's request reach a service that is not our gateway? Decided on its form, its host and its origin, before anything is dialled. */
import type { IncomingMessage } from 'node:http'
import { TARGET_DETAILS } from '../../answers/details.ts'
import { GatewayError } from '../../answers/errors.ts'
import { fieldLines } from '../../http/fields.ts'
import { matchHost, parseAuthority } from '../../rules/host.ts'
import { messageProblem } from '../../rules/message.ts'
import { judgeOrigin } from '../../rules/origin.ts'
import { canonicalPath, splitTarget } from '../../rules/target.ts'
import type { DaemonLists } from './daemon-lists.ts'

/** What is served. */
export interface ServedNames extends DaemonLists {
  /** The host of the page that devices use (LINK_PAGE_URL), lower case, which is always served. */
  readonly pageHost: string
  /** The origin of that page. */
  readonly pageOrigin: string
}

/** A request that may pass. */
export interface Passed {
  /** The path and query, as sent. */
  readonly path: string
  /** The foreign origin of the daemon's list that sent it, which may read the response; undefined for any other request. */
  readonly allowOrigin: string | undefined
}

/**
 * Judges a request.
 * @param isUpgrade whether the connection leaves HTTP with it
 * @throws {GatewayError} the refusal
 */
export function judgeRequest(
  request: IncomingMessage,
  isUpgrade: boolean,
  served: ServedNames,
): Passed {
  const problem = messageProblem(request, isUpgrade)
  if (problem !== undefined) throw problem
  const path = checkedPath(request.url ?? '')
  const { rawHeaders, headers } = request
  const [host = '', ...more] = fieldLines(rawHeaders, 'host')
  const authority = more.length > 0 ? undefined : parseAuthority(host)
  if (authority === undefined || !matchHost(authority, served.pageHost, served.allowedHosts))
    throw new GatewayError('host-not-served')
  const origins = fieldLines(rawHeaders, 'origin')
  const kind = judgeOrigin(
    { origins, fetchSite: headers['sec-fetch-site']?.toString() },
    { own: served.pageOrigin, allowed: served.allowedOrigins },
  )
  // Also for a GET: the browser of that page, which would keep the response from it, is at the far end of the channel.
  if (kind === 'foreign') throw new GatewayError('origin-not-allowed')
  return { path, allowOrigin: kind === 'allowed' ? origins[0] : undefined }
}

/** @throws {GatewayError} `bad-target` for a target that is not in its one canonical form */
function checkedPath(target: string): string {
  const parts = splitTarget(target)
  const checked = 'reason' in parts ? parts : canonicalPath(parts.path, '', () => undefined)
  if (!('reason' in checked)) return target
  const { reason } = checked
  throw new GatewayError('bad-target', { reason, detail: TARGET_DETAILS[reason] })
}
