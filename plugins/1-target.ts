/** What does the request ask for? The canonical target decides the route, for Fastify's router and for everything after. */
import type * as http from 'node:http'
import { TARGET_DETAILS } from '../src/answers/details.ts'
import { GatewayError } from '../src/answers/errors.ts'
import { stage } from '../src/request/stage.ts'
import { byService } from '../src/rules/services.ts'
import type { SiteMap } from '../src/rules/site-map.ts'
import { parseTarget, type BadTarget, type Target } from '../src/rules/target.ts'

declare module 'http' {
  interface IncomingMessage {
    /** What the request asks for. On the message itself: a WeakMap costs the garbage collector 10 µs a request. */
    target?: Target | BadTarget
  }
}

/**
 * Fastify's `rewriteUrl`: hands the router the address of the route that was decided on, so that there is no second
 * opinion about the path. What is no target goes to the dashboard's address, and stage 1 refuses it before anything else.
 */
export function buildRouting(siteMap: SiteMap): (raw: http.IncomingMessage) => string {
  const addresses = byService((_name, { path }) => path)
  return (raw) => {
    const target = parseTarget(raw.url ?? '', siteMap)
    raw.target = target
    if ('reason' in target) return '/'
    return target.route === 'gateway' ? target.path : addresses[target.route]
  }
}

/** Of a request that did not come by way of {@link buildRouting}. */
const NOT_PARSED = new GatewayError('bad-target', { reason: 'was not parsed' })

export default stage(
  'target',
  () =>
    function checkTarget({ exchange, raw }) {
      const { target } = raw
      if (target === undefined) return NOT_PARSED
      if ('reason' in target) return badTarget(target)
      exchange.target = target
      return undefined
    },
)

function badTarget({ reason }: BadTarget): GatewayError {
  return new GatewayError('bad-target', { reason, detail: TARGET_DETAILS[reason] })
}
