/** What is an agent told when a service cannot be reached? The code of the fault; never the text of a library. */
import { codeOf } from '../../answers/errors.ts'
import { VaultError, type VaultErrorCode } from '../vault-errors.ts'

const UNTRUSTED = /CERT|UNABLE_TO_|HOSTNAME_MISMATCH|INVALID_CA|INVALID_PURPOSE|PATH_LENGTH|^CRL_/

/** Turns what went wrong before the answer into a refusal. */
export function faultOf(error: unknown, service: string): VaultError {
  if (error instanceof VaultError) return error
  const code = codeOf(error)
  return new VaultError(kindOf(code), `"${service}": ${code === '' ? 'failed' : code}`, {
    cause: error,
  })
}

function kindOf(code: string): VaultErrorCode {
  if (UNTRUSTED.test(code)) return 'service-untrusted'
  if (code.startsWith('HPE_')) return 'answer-malformed'
  if (code === 'ERR_UNESCAPED_CHARACTERS') return 'bad-target'
  return code === 'ETIMEDOUT' ? 'service-timeout' : 'service-unreachable'
}
