/** Who may ask the limits service over its port? Whoever brings one of its tokens. */
import { createHash, timingSafeEqual } from 'node:crypto'
import { LimitError } from './limit-errors.ts'

/** The callers, known by their tokens. Only digests are kept. */
export class Callers {
  #digests: readonly Buffer[] = []

  constructor(tokens: readonly string[]) {
    this.setTokens(tokens)
  }

  /** Has these tokens in force from now on, and no others. */
  setTokens(tokens: readonly string[]): void {
    this.#digests = tokens.map(digestOf)
  }

  /**
   * Checks the field `Authorization` of a request. Digests are compared, each with every one, so that the time tells nothing of
   * a token.
   * @throws {LimitError} `token-required` or `token-invalid`
   */
  check(authorization: string | undefined): void {
    const [, token] = /^Bearer +(.+)$/i.exec(authorization ?? '') ?? []
    if (token === undefined)
      throw new LimitError(
        'token-required',
        'send Authorization: Bearer with a token of LIMITS_TOKEN_FILE',
      )
    const digest = digestOf(token)
    if (!this.#digests.map((known) => timingSafeEqual(known, digest)).includes(true))
      throw new LimitError('token-invalid', 'the token is none of LIMITS_TOKEN_FILE')
  }
}

function digestOf(token: string): Buffer {
  return createHash('sha256').update(token).digest()
}
