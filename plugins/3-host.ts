/** Is the host that was asked for ours? DNS rebinding and misrouted names end here. */
import fp from 'fastify-plugin'
import { GatewayError } from '../src/errors.ts'
import { fieldLines } from '../src/fields.ts'
import { matchHost, parseAuthority, type HostRule } from '../src/host.ts'

/** Which hosts are served. */
export interface HostOptions {
  /** `<workspace>.<domain>` */
  readonly publicHost: string
  /** Rules for further hosts. */
  readonly rules: readonly HostRule[]
}

export default fp(
  async function host(app, { publicHost, rules }: HostOptions) {
    app.addHook('onRequest', function checkHost(request, _reply, done) {
      const { exchange, raw, routeOptions } = request
      exchange.stage = 'host'
      const lines = fieldLines(raw.rawHeaders, 'host')
      exchange.authority = lines.length === 1 ? parseAuthority(lines[0] ?? '') : undefined
      if (routeOptions.config.anyHost === true) {
        done()
      } else if (exchange.authority === undefined) {
        done(
          new GatewayError('host-not-served', {
            reason: lines.length === 1 ? 'Host is malformed' : `${lines.length} Host fields`,
          }),
        )
      } else if (matchHost(exchange.authority, publicHost, rules)) {
        done()
      } else {
        done(new GatewayError('host-not-served'))
      }
    })
  },
  { name: 'host', fastify: '5.x', dependencies: ['client-address'] },
)
