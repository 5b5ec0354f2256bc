/** Why is the relay away, and what would help? The error of the connection, or the code with which it was closed, in words for the owner. */
import { codeOf } from '../../answers/errors.ts'
import { RELAY_CLOSE } from '../protocol/relay-wire.ts'

/** Errors of the system and of TLS, by their codes (Node's documentation, "Common system errors" and "X509 certificate error codes"). */
const BY_CODE: Readonly<Record<string, string>> = {
  ENOTFOUND:
    'the host of LINK_RELAY_URL has no address; look at its spelling, and at the DNS of this machine',
  EAI_AGAIN: 'the DNS of this machine does not answer',
  ECONNREFUSED: 'nothing listens there; start the relay, or correct the port of LINK_RELAY_URL',
  ECONNRESET: 'the connection was cut',
  ETIMEDOUT: 'nothing answers there; a firewall may be between',
  EHOSTUNREACH: 'there is no way to it from this machine',
  ENETUNREACH: 'this machine has no network',
  EPROTO: 'what answers speaks no TLS; LINK_RELAY_URL may have the wrong port',
  CERT_HAS_EXPIRED:
    'the certificate of the relay has expired, or the clock of this machine is wrong',
  CERT_NOT_YET_VALID:
    'the certificate of the relay is not valid yet; the clock of this machine may be wrong',
  ERR_TLS_CERT_ALTNAME_INVALID:
    'the certificate there is for another host than that of LINK_RELAY_URL',
}

/** Certificates that no known authority has signed. */
const UNKNOWN_ISSUER =
  /^(?:DEPTH_ZERO_SELF_SIGNED_CERT|SELF_SIGNED_CERT_IN_CHAIN|UNABLE_TO_(?:GET_ISSUER_CERT(?:_LOCALLY)?|VERIFY_LEAF_SIGNATURE))$/

/** What the codes of a close say. */
const BY_CLOSE: Readonly<Record<number, string>> = {
  [RELAY_CLOSE.restart]: 'the relay restarts',
  [RELAY_CLOSE.otherNode]:
    'the relay names another node, which is not at its host or below it, or too many in a row',
  [RELAY_CLOSE.timedOut]: 'the relay has heard nothing for a while; the network may be down',
}

/**
 * Says why the connection to the relay has ended, or was not opened.
 * @param error of the connection, if it had one
 * @param code with which it was closed
 * @returns a sentence without what the other side has written; the code of the error stands in it
 */
export function relayProblem(error: unknown, code: number): string {
  if (error === undefined)
    return `${BY_CLOSE[code] ?? 'the connection was cut'} (closed with ${code})`
  const name = codeOf(error)
  const status = statusIn(error)
  if (status !== undefined) return answered(status)
  const known = BY_CODE[name]
  if (known !== undefined) return `${known} (${name})`
  if (UNKNOWN_ISSUER.test(name))
    return `no authority that this machine knows has signed its certificate; NODE_EXTRA_CA_CERTS names the file of your own (${name})`
  if (name.startsWith('ERR_SSL_')) return `${BY_CODE['EPROTO']} (${name})`
  if (name.startsWith('HPE_') || name.startsWith('WS_') || name === '')
    return `what answers there is no relay${name === '' ? '' : ` (${name})`}; look at LINK_RELAY_URL`
  return `it cannot be reached (${name})`
}

/** The status of an answer that is no upgrade, which ws tells in its message alone. */
function statusIn(error: unknown): number | undefined {
  const [, status] =
    /^Unexpected server response: (\d{3})$/.exec(error instanceof Error ? error.message : '') ?? []
  return status === undefined ? undefined : Number(status)
}

function answered(status: number): string {
  const said = `it answers HTTP ${status} instead of a WebSocket`
  if (status === 429) return `${said}: too many connections come from the address of this machine`
  if (status >= 500) return `${said}: the relay behind its proxy may be down`
  if (status >= 300 && status < 400)
    return `${said}: LINK_RELAY_URL must be the address to which it redirects`
  return `${said}: no relay is there, or a proxy before it does not pass upgrades; look at LINK_RELAY_URL`
}
