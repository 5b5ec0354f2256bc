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
   * Checks the field `Authorization` of a request.
   * @throws {LimitError} `token-required` or `token-invalid`
   */
  check(authorization: string | undefined): void {
    if (this.know(authorization)) return
    if (tokenIn(authorization) === undefined)
      throw new LimitError(
        'token-required',
        'send Authorization: Bearer with a token of LIMITS_TOKEN_FILE',
      )
    throw new LimitError('token-invalid', 'the token is none of LIMITS_TOKEN_FILE')
  }

  /**
   * Whether the field `Authorization` of a request has a token. Digests are compared, each with every one, so that the time tells
   * nothing of a token.
   */
  know(authorization: string | undefined): boolean {
    const token = tokenIn(authorization)
    if (token === undefined) return false
    const digest = digestOf(token)
    return this.#digests.map((known) => timingSafeEqual(known, digest)).includes(true)
  }
}

function tokenIn(authorization = ''): string | undefined {
  return /^Bearer +(.+)$/i.exec(authorization)?.[1]
}

function digestOf(token: string): Buffer {
  return createHash('sha256').update(token).digest()
}
