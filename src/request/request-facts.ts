/** What kind of client sent the request? A person's browser that loads a page, or a script: responses differ for them. */
import type { IncomingHttpHeaders } from 'node:http'

/** Whether a browser loads a page. Such a request gets pages and redirects instead of problem documents. */
export function isNavigation(method: string, headers: IncomingHttpHeaders): boolean {
  const mode = headers['sec-fetch-mode']
  if (mode !== undefined) return mode === 'navigate'
  return (method === 'GET' || method === 'HEAD') && (headers.accept ?? '').includes('text/html')
}

/** Whether Next.js's router sent the request, such as a prefetch of a link. */
export function isRouterFetch(headers: IncomingHttpHeaders): boolean {
  return headers['rsc'] !== undefined || headers['next-router-prefetch'] !== undefined
}

/**
 * Whether a browser fetches a page before a person has asked for it, or only looks at it for a preview. Such a request must
 * change nothing that a later visit needs.
 */
export function isPrefetch(headers: IncomingHttpHeaders): boolean {
  return ['sec-purpose', 'purpose', 'x-purpose', 'x-moz'].some(
    (name) => headers[name] !== undefined,
  )
}
