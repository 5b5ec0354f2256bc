/** Which client address does a request get, and can a client choose it? Only a trusted proxy may name another than its own. */
import { clientFrom, formatAddress } from '../../http/address.ts'
import { isLoopback } from '../advice.ts'
import { ask, type Answer, type NoAnswer } from './ask.ts'
import { isUnspecified, unusedAddress, type Examination } from './examination.ts'
import { fail, pass, skip, warn, type Finding } from './finding.ts'

const THROUGH_PROXY = 'client-address-through-proxies'
const BELIEVED = 'client-address-of-trusted-peers'
const IGNORED = 'client-address-of-other-peers'

/** An address for examples (RFC 5737). */
const SOMEBODY = '203.0.113.7'

export async function examineClientAddress(examination: Examination): Promise<Finding[]> {
  return [
    explainProxies(examination),
    ...(await Promise.all([examineTrusted(examination), examineOthers(examination)])),
  ]
}

/** Explains the client address of a request through the configured proxies, computed by the gateway's own function. */
function explainProxies({ config: { trustedProxies, socket, host } }: Examination): Finding {
  if (trustedProxies.length === 0 && socket === undefined) {
    const detail = 'nobody is trusted: every request has the address of its TCP peer'
    return isLoopback(host)
      ? pass(THROUGH_PROXY, detail)
      : warn(
          THROUGH_PROXY,
          `${detail}, so behind a proxy everybody shares one budget`,
          "set GATEWAY_TRUSTED_PROXIES to the proxy's address or network",
        )
  }
  const networks = trustedProxies.map(({ bytes, bits }) => `${formatAddress(bytes)}/${bits}`)
  const [first] = trustedProxies
  const peer = first === undefined || socket !== undefined ? undefined : formatAddress(first.bytes)
  const client = clientFrom(peer, [`198.51.100.1, ${SOMEBODY}`], trustedProxies)
  return pass(
    THROUGH_PROXY,
    `"X-Forwarded-For: 198.51.100.1, ${SOMEBODY}" from ${[...(socket === undefined ? [] : ['the Unix socket']), ...networks].join(', ')} means ${client?.address ?? 'a refusal (400)'}; from anybody else, the peer itself`,
  )
}

/** Checks that the rightmost entry of X-Forwarded-For decides, because a client can write every entry before it. */
async function examineTrusted(examination: Examination): Promise<Finding> {
  if (!examination.isTrusted)
    return skip(BELIEVED, 'this machine is not among GATEWAY_TRUSTED_PROXIES, so it cannot try')
  const client = unusedAddress()
  const reply = await examination.askGateway('/', { client })
  if (reply.kind === 'none') return skip(BELIEVED, 'the gateway does not answer')
  const first = budgetOf(reply)
  const second = budgetOf(
    await examination.askGateway('/', { client: `${unusedAddress()}, ${client}` }),
  )
  if (first === undefined || second === undefined)
    return skip(BELIEVED, 'the gateway does not tell what is left of a budget')
  if (!first.isFresh) {
    return fail(
      BELIEVED,
      'an address that was never seen before had spent some of its budget: X-Forwarded-For of a trusted proxy is not believed',
      'the running gateway trusts other proxies than this environment says: restart it',
    )
  }
  return second.isFresh
    ? fail(
        BELIEVED,
        'the leftmost entry of X-Forwarded-For is believed, which any client can write',
        'see which program listens there: the gateway takes the rightmost entry',
      )
    : pass(BELIEVED, "the proxy's own entry counts; one that a client put before it is ignored")
}

/**
 * Checks that X-Forwarded-For of an untrusted peer is ignored. Two requests of one peer name two addresses that were never
 * seen before: when both have a fresh budget, the header was believed.
 */
async function examineOthers({
  config: { host, port, socket, trustedProxies },
  outerAddresses,
  publicHost,
}: Examination): Promise<Finding> {
  if (socket !== undefined || (!isUnspecified(host) && isLoopback(host)))
    return skip(IGNORED, 'the gateway listens for this machine alone')
  const from = outerAddresses.find(
    (address) =>
      !address.includes('%') &&
      (host === '::' || (host === '0.0.0.0' ? !address.includes(':') : address === host)) &&
      clientFrom(address, [], trustedProxies)?.viaProxy === false,
  )
  if (from === undefined)
    return skip(IGNORED, 'every address of this machine is trusted, so it cannot try')
  const hostname = from.includes(':') ? `[${from}]` : from
  const knock = (): Promise<Answer | NoAnswer> =>
    ask(
      { hostname, port, socketPath: undefined },
      { path: '/', headers: ['Host', publicHost, 'X-Forwarded-For', unusedAddress()], from },
    )
  const reply = await knock()
  if (reply.kind === 'none') return skip(IGNORED, `${hostname}:${port}: ${reply.why}`)
  const [first, second] = [budgetOf(reply), budgetOf(await knock())]
  if (first === undefined || second === undefined)
    return skip(IGNORED, `${hostname}:${port} does not tell what is left of a budget`)
  return first.isFresh && second.isFresh
    ? fail(
        IGNORED,
        `${from} is not trusted, and yet its X-Forwarded-For was believed: a caller chooses its address and is never limited`,
        'the running gateway trusts other proxies than this environment says: set GATEWAY_TRUSTED_PROXIES to your proxies alone and restart it',
      )
    : pass(IGNORED, `a spoofed X-Forwarded-For from ${from} was ignored`)
}

/** Whether a request was the first of its budget; undefined when the response has no RateLimit headers. */
function budgetOf(reply: Answer | NoAnswer): { isFresh: boolean } | undefined {
  if (reply.kind === 'none') return undefined
  const left = /;r=(\d+)/.exec(String(reply.headers['ratelimit']))?.[1]
  const quota = /;q=(\d+)/.exec(String(reply.headers['ratelimit-policy']))?.[1]
  if (left === undefined || quota === undefined) return undefined
  return { isFresh: reply.status !== 429 && Number(left) === Number(quota) - 1 }
}
