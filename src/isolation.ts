/** What may an answer become in a browser? All services share one origin: only the dashboard's answers may be its pages. */
import type { IncomingHttpHeaders } from 'node:http'

/** Types that a browser would show as a document with scripts in it. */
const DOCUMENT = /html|xml|svg|xsl|x-mixed-replace/i

/**
 * Fields that keep an answer from acting as a page of the workspace's origin. OpenClaw answers every unknown path with its
 * control UI, and an agent can be talked into returning any HTML: opened below `/api`, it must not run with the
 * dashboard's origin. An additional policy only ever takes rights away, whatever the service's own policy says.
 * @param contentType of the answer, or undefined
 */
export function isolationFields(contentType: string | undefined): readonly string[] {
  return contentType !== undefined && DOCUMENT.test(contentType)
    ? ['Content-Security-Policy', 'sandbox']
    : []
}

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
