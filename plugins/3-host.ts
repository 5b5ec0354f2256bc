/** Stage 3: is the requested host one of this gateway's? This stops DNS rebinding and misrouted names. */
import { GatewayError } from '../src/answers/errors.ts'
import { fieldLines } from '../src/http/fields.ts'
import { Remembered } from '../src/limits/memo.ts'
import { stage } from '../src/request/stage.ts'
import { matchHost, parseAuthority, type HostRule } from '../src/rules/host.ts'

/** Which hosts are served. */
interface HostOptions {
  /** `<workspace>.<domain>` */
  readonly publicHost: string
  /** Rules that allow further hosts. */
  readonly rules: readonly HostRule[]
}

export default stage('host', ({ publicHost, rules }: HostOptions) => {
  const authorities = new Remembered(parseAuthority)
  const served = new Remembered((text) => {
    const authority = authorities.of(text)
    return authority !== undefined && matchHost(authority, publicHost, rules)
  })

  return function checkHost({ exchange, raw, routeOptions }) {
    const lines = fieldLines(raw.rawHeaders, 'host')
    const [value = ''] = lines
    exchange.authority = lines.length === 1 ? authorities.of(value) : undefined
    if (routeOptions.config.anyHost === true && raw.socket.linkPeer === undefined) return undefined
    if (exchange.authority === undefined)
      return new GatewayError('host-not-served', {
        reason: lines.length === 1 ? 'Host is malformed' : `${lines.length} Host fields`,
      })
    return served.of(value) ? undefined : new GatewayError('host-not-served')
  }
})
