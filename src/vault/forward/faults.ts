/** What is an agent told when a service cannot be reached? A sentence with the code of the fault; never the text of a library. */
import { codeOf } from '../../answers/errors.ts'
import { VaultError, type VaultErrorCode } from '../vault-errors.ts'

const UNTRUSTED = /CERT|UNABLE_TO_|HOSTNAME_MISMATCH|INVALID_CA|INVALID_PURPOSE|PATH_LENGTH|^CRL_/

/** Turns what went wrong before the answer into a refusal. */
export function faultOf(error: unknown, service: string): VaultError {
  if (error instanceof VaultError) return error
  const code = codeOf(error)
  const kind = kindOf(code)
  return new VaultError(kind, sentenceOf(kind, code === '' ? 'failed' : code, service), {
    cause: error,
  })
}

function sentenceOf(kind: VaultErrorCode, code: string, service: string): string {
  if (kind === 'service-untrusted')
    return `the certificate of "${service}" is not trusted (${code})${UNKNOWN_CA.test(code) ? '; the owner trusts further certificates with VAULT_EXTRA_CA_FILE' : ''}`
  if (kind === 'service-unreachable' || kind === 'service-timeout')
    return `"${service}" cannot be reached (${code}); the owner sees its origin with: workspace-gateway vault show ${service}`
  return `"${service}": ${code}`
}

const UNKNOWN_CA = /SELF_SIGNED|UNABLE_TO_/

function kindOf(code: string): VaultErrorCode {
  if (UNTRUSTED.test(code)) return 'service-untrusted'
  if (code.startsWith('HPE_')) return 'answer-malformed'
  if (code === 'ERR_UNESCAPED_CHARACTERS') return 'bad-target'
  return code === 'ETIMEDOUT' ? 'service-timeout' : 'service-unreachable'
}
