/** What kind of caller is this? Facts about a request that several answers depend on. */
import type { IncomingHttpHeaders } from 'node:http'

/** Whether a person is looking: a page navigation, which gets pages and redirects instead of problem documents. */
export function isNavigation(method: string, headers: IncomingHttpHeaders): boolean {
  const mode = headers['sec-fetch-mode']
  if (mode !== undefined) return mode === 'navigate'
  return (method === 'GET' || method === 'HEAD') && (headers.accept ?? '').includes('text/html')
}

/** Whether Next.js's router fetches ahead of a click. */
export function isRouterFetch(headers: IncomingHttpHeaders): boolean {
  return headers['rsc'] !== undefined || headers['next-router-prefetch'] !== undefined
}
