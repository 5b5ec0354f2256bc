/** Stage 1: what does the request ask for? Its target gets one canonical form, which decides the route for the router and all later stages. */
import type * as http from 'node:http'
import { TARGET_DETAILS } from '../src/answers/details.ts'
import { GatewayError } from '../src/answers/errors.ts'
import { stage } from '../src/request/stage.ts'
import { byService } from '../src/rules/services.ts'
import type { SiteMap } from '../src/rules/site-map.ts'
import { parseTarget, type BadTarget, type Target } from '../src/rules/target.ts'

declare module 'http' {
  interface IncomingMessage {
    /** The parsed target, set before the router runs. A property, because a WeakMap costs the garbage collector 10 µs a request. */
    target?: Target | BadTarget
  }
}

/**
 * Makes Fastify's `rewriteUrl`. It parses the target and gives the router the path of the route that the target belongs to,
 * so that the router never interprets the path itself. A malformed target gets the dashboard's path, and this stage refuses
 * the request before any service is dialled.
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

/** Refuses a request whose target {@link buildRouting} did not parse. */
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
