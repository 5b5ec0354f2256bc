/** Which requests would make one service act for another? All services share one origin. */
import type { IncomingHttpHeaders } from 'node:http'

/** Whether a browser fetches a service worker, which would see every request below its path (Service Workers section 4.4). */
export function isServiceWorkerScript(headers: IncomingHttpHeaders): boolean {
  return headers['service-worker'] !== undefined || headers['sec-fetch-dest'] === 'serviceworker'
}

/**
 * Whether a query tells OpenClaw's control UI to connect, with its token, to a gateway of somebody else's choosing
 * (CVE-2026-25253). Names are compared as URLSearchParams reads them, in any case.
 * @param query with its `?`, or an empty string
 */
export function namesForeignGateway(query: string): boolean {
  if (!/gateway|%/i.test(query)) return false
  return [...new URLSearchParams(query).keys()].some(
    (name) => name.trim().toLowerCase() === 'gatewayurl',
  )
}
