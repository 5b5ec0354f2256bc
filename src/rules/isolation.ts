/**
 * Which requests would let one service act on another? All services share one origin, so a service worker of one controls the
 * pages of others, and a link to the control UI can send its token away.
 */
import type { IncomingHttpHeaders } from 'node:http'

/** Whether a browser fetches a service worker script. The worker would see all requests below its path (Service Workers 4.4). */
export function isServiceWorkerScript(headers: IncomingHttpHeaders): boolean {
  return headers['service-worker'] !== undefined || headers['sec-fetch-dest'] === 'serviceworker'
}

/**
 * Whether a query tells OpenClaw's control UI to connect, with its token, to a gateway that an attacker chose
 * (CVE-2026-25253). Parameter names are decoded by URLSearchParams and compared in any case.
 * @param query the query with its `?`, or an empty string
 */
export function namesForeignGateway(query: string): boolean {
  if (!/gateway|%/i.test(query)) return false
  return [...new URLSearchParams(query).keys()].some(
    (name) => name.trim().toLowerCase() === 'gatewayurl',
  )
}
