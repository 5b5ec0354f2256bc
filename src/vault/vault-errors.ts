/** Which refusals does the vault send? The codes of this table; docs/vault.md is checked against it. */

interface VaultErrorRow {
  readonly status: number
  /** Public words: nothing of the request, no credential, no name of an entry. */
  readonly title: string
}

/** The codes are part of the public interface and are never used again for something else. */
export const VAULT_ERRORS = {
  'bad-request': { status: 400, title: 'The request is malformed' },
  'bad-target': { status: 400, title: 'The path in the request is malformed' },
  'lease-missing': { status: 401, title: 'The request has no lease' },
  'lease-invalid': { status: 401, title: 'The lease is not valid at this door' },
  'lease-expired': { status: 401, title: 'The lease has expired' },
  'lease-revoked': { status: 401, title: 'The lease was revoked' },
  'not-granted': { status: 403, title: 'The agent may not use this service' },
  'method-not-allowed': { status: 403, title: 'The lease does not cover this method' },
  'path-not-allowed': { status: 403, title: 'The lease does not cover this path' },
  'upgrade-not-allowed': { status: 403, title: 'The entry does not allow WebSockets' },
  'not-shared': { status: 403, title: 'The vault is not shared with other workspaces' },
  suspended: { status: 403, title: 'The entry is suspended' },
  'owner-only': { status: 403, title: 'Only the owner may do this' },
  'not-found': { status: 404, title: 'There is nothing at this address' },
  conflict: { status: 409, title: 'The change does not fit what is there' },
  'body-too-large': { status: 413, title: 'The body is too long' },
  'too-many-leases': {
    status: 429,
    title: 'The agent has too many leases, or asks for them too fast',
  },
  'too-many-requests': { status: 429, title: 'The agent has too many requests open' },
  'internal-error': { status: 500, title: 'The vault failed' },
  'address-not-allowed': {
    status: 502,
    title: 'The service has an address that may not be dialled',
  },
  'service-unreachable': { status: 502, title: 'The service cannot be reached' },
  'service-untrusted': { status: 502, title: 'The certificate of the service is not valid' },
  'answer-encoded': { status: 502, title: 'The service sent an encoded answer' },
  'answer-malformed': { status: 502, title: 'The service sent a malformed answer' },
  // Of `exec`, which relays requests to the vault.
  'vault-unreachable': { status: 502, title: 'The vault cannot be reached' },
  'service-timeout': { status: 504, title: 'The service did not answer in time' },
  'audit-unavailable': { status: 503, title: 'The audit log cannot be written' },
  'not-saved': { status: 507, title: 'The vault could not be written' },
} as const satisfies Record<string, VaultErrorRow>

export type VaultErrorCode = keyof typeof VAULT_ERRORS

/** The header that marks each answer of the vault's own. */
export const VAULT_ERROR_FIELD = 'X-Vault-Error'

/** A refusal. Its `detail` names the rule, and the command that would allow the request. It never contains a credential. */
export class VaultError extends Error {
  readonly code: VaultErrorCode
  readonly detail: string

  constructor(code: VaultErrorCode, detail: string, options?: ErrorOptions) {
    super(detail, options)
    this.name = 'VaultError'
    this.code = code
    this.detail = detail
  }

  get status(): number {
    return VAULT_ERRORS[this.code].status
  }

  /** The header fields that mark the refusal. A 401 names a scheme, because git asks its credential helper for a lease only then. */
  get fields(): ReadonlyArray<readonly [name: string, value: string]> {
    const mark = [VAULT_ERROR_FIELD, this.code] as const
    return this.status === 401 ? [mark, ['WWW-Authenticate', 'Basic realm="vault"']] : [mark]
  }
}

/** How the owner changes what the seal of an entry binds: it is given when the entry is added. */
export function addAnew(service: string, option: string): string {
  return `workspace-gateway vault remove ${service}, then workspace-gateway vault add ${service} ${option} and what it had before`
}

/** The problem document of a refusal (RFC 9457). */
export function vaultProblem({ code, detail }: Pick<VaultError, 'code' | 'detail'>): string {
  const { status, title } = VAULT_ERRORS[code]
  return `${JSON.stringify({ type: `urn:workspace-gateway:vault:${code}`, title, status, code, detail })}\n`
}
