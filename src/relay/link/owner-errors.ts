/** Which refusals does the owner's door of the link send? The codes of this table; docs/relay.md is checked against it. */

interface LinkErrorRow {
  readonly status: number
  /** Public words. */
  readonly title: string
}

/** The codes are part of the public interface and are never used again for something else. */
export const LINK_ERRORS = {
  'bad-request': { status: 400, title: 'The request is malformed' },
  'not-found': { status: 404, title: 'There is nothing at this address' },
  conflict: { status: 409, title: 'The change does not fit what is there' },
  'body-too-large': { status: 413, title: 'The body is too long' },
  'internal-error': { status: 500, title: 'The link failed' },
  'not-saved': { status: 507, title: 'The link could not write its files' },
} as const satisfies Record<string, LinkErrorRow>

/** A code of {@link LINK_ERRORS}. */
export type LinkErrorCode = keyof typeof LINK_ERRORS

/** The header that marks each refusal. */
export const LINK_ERROR_FIELD = 'X-Link-Error'

/** A refusal. Its `detail` names the rule, and what would help. */
export class LinkError extends Error {
  readonly code: LinkErrorCode

  constructor(code: LinkErrorCode, detail: string, options?: ErrorOptions) {
    super(detail, options)
    this.name = 'LinkError'
    this.code = code
  }

  get status(): number {
    return LINK_ERRORS[this.code].status
  }
}

/** The problem document of a refusal (RFC 9457). */
export function linkProblem({ code, message: detail }: LinkError): string {
  const { status, title } = LINK_ERRORS[code]
  return `${JSON.stringify({ type: `urn:workspace-gateway:link:${code}`, title, status, code, detail })}\n`
}
