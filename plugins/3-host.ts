/** Is the host that was asked for ours? DNS rebinding and misrouted names end here. */
import fp from 'fastify-plugin'
import { GatewayError } from '../src/answers/errors.ts'
import { fieldLines } from '../src/http/fields.ts'
import { matchHost, parseAuthority, type HostRule } from '../src/rules/host.ts'
import { Remembered } from '../src/limits/memo.ts'

/** Which hosts are served. */
export interface HostOptions {
  /** `<workspace>.<domain>` */
  readonly publicHost: string
  /** Rules for further hosts. */
  readonly rules: readonly HostRule[]
}

export default fp(
  async function host(app, { publicHost, rules }: HostOptions) {
    const authorities = new Remembered(parseAuthority)
    const served = new Remembered((text) => {
      const authority = authorities.of(text)
      return authority !== undefined && matchHost(authority, publicHost, rules)
    })

    app.addHook('onRequest', function checkHost(request, _reply, done) {
      const { exchange, raw, routeOptions } = request
      exchange.outcome.stage = 'host'
      const lines = fieldLines(raw.rawHeaders, 'host')
      const [value = ''] = lines
      exchange.authority = lines.length === 1 ? authorities.of(value) : undefined
      if (routeOptions.config.anyHost === true) {
        done()
      } else if (exchange.authority === undefined) {
        done(
          new GatewayError('host-not-served', {
            reason: lines.length === 1 ? 'Host is malformed' : `${lines.length} Host fields`,
          }),
        )
      } else if (served.of(value)) {
        done()
      } else {
        done(new GatewayError('host-not-served'))
      }
    })
  },
  { name: 'host', fastify: '5.x', dependencies: ['client-address'] },
)
