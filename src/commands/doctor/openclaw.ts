/** Does OpenClaw accept requests as the gateway forwards them? One GET tests the forwarding headers, another the credential. */
import { SERVICES } from '../../rules/services.ts'
import { forwardingModeOf } from '../../services/service.ts'
import type { Answer } from './ask.ts'
import { startRemedy, type Examination } from './examination.ts'
import { fail, pass, skip, warn, type Finding } from './finding.ts'

const FORWARDING = 'openclaw-takes-forwarding'
const CREDENTIAL = 'openclaw-takes-credential'

/** A path that needs no credential, and that OpenClaw refuses to an unknown proxy; `/health` is not refused to anybody. */
const PROBE = '/readyz'
/** A path that needs a credential and changes nothing. */
const GUARDED = '/v1/models'

export async function examineOpenclaw(examination: Examination): Promise<Finding[]> {
  const { apiUrl, openclawMode, openclawToken } = examination.config
  const how = {
    mode: forwardingModeOf(SERVICES.api, examination.config),
    authorization: openclawToken === undefined ? undefined : `Bearer ${openclawToken}`,
  }
  const reply = await examination.askService('OpenClaw', apiUrl, PROBE, how)
  if (reply.kind === 'none') {
    return [
      fail(
        FORWARDING,
        `${apiUrl.url}: ${reply.why}; programs get 502 or 504 on /api`,
        startRemedy('api'),
      ),
      skip(CREDENTIAL, 'OpenClaw does not answer'),
    ]
  }
  const seen = `GATEWAY_OPENCLAW_MODE=${openclawMode}: ${apiUrl.url} answered ${PROBE} with ${reply.status}`
  if (isAttributionRefusal(reply)) {
    return [
      fail(
        FORWARDING,
        `${seen}, proxy_attribution_required`,
        openclawMode === 'local'
          ? 'something else adds forwarded fields on the way to OpenClaw: set GATEWAY_API_URL to OpenClaw itself'
          : 'put the gateway\'s address into gateway.trustedProxies of openclaw.json (["127.0.0.1"], examples/fly/openclaw.trusted-proxy.json) and restart OpenClaw, or set GATEWAY_OPENCLAW_MODE=local',
      ),
      skip(CREDENTIAL, 'OpenClaw refuses what the gateway forwards'),
    ]
  }
  const forwarding =
    reply.status < 400
      ? pass(FORWARDING, seen)
      : warn(FORWARDING, seen, 'OpenClaw is not ready, or this is not OpenClaw; read its own log')
  const guarded = await examination.askService('OpenClaw', apiUrl, GUARDED, how)
  return [
    forwarding,
    guarded.kind === 'none'
      ? skip(CREDENTIAL, `${GUARDED}: ${guarded.why}`)
      : judgeCredential(guarded, openclawMode, openclawToken !== undefined),
  ]
}

function isAttributionRefusal({ status, body }: Answer): boolean {
  return status === 403 && body.includes('proxy_attribution_required')
}

function judgeCredential(
  { status }: Answer,
  mode: 'local' | 'trusted-proxy',
  hasToken: boolean,
): Finding {
  const seen = `OpenClaw answered ${GUARDED} with ${status}`
  if (status < 300) return pass(CREDENTIAL, seen)
  if (status === 404)
    return skip(CREDENTIAL, `${seen}: its HTTP API is not switched on, so nothing can be told`)
  if (status === 401 && hasToken) {
    return fail(
      CREDENTIAL,
      `${seen} to the token in GATEWAY_OPENCLAW_TOKEN`,
      'set GATEWAY_OPENCLAW_TOKEN to the value of gateway.auth.token in openclaw.json',
    )
  }
  if (status === 401 && mode === 'trusted-proxy') {
    return warn(
      CREDENTIAL,
      `${seen} to a user named in X-Forwarded-User`,
      'set gateway.auth.mode to "trusted-proxy" with userHeader "x-forwarded-user" in openclaw.json, or every program has to bring OpenClaw\'s own token',
    )
  }
  if (status === 401) {
    return warn(
      CREDENTIAL,
      `${seen}: every program has to bring OpenClaw's own token`,
      'set GATEWAY_OPENCLAW_TOKEN to have the gateway send it, or GATEWAY_OPENCLAW_MODE=trusted-proxy when gateway.auth.mode is "trusted-proxy"',
    )
  }
  if (status === 429)
    return warn(
      CREDENTIAL,
      `${seen}: too many wrong tokens came from the gateway's address`,
      'wait five minutes; then see who sends OpenClaw a token that is not its own',
    )
  return warn(CREDENTIAL, seen, "read OpenClaw's own log")
}
