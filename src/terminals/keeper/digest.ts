/** Does who comes back bring the same password? The keeper knows only a salted digest of it. */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'

/** A digest of a secret that cannot be reversed without the salt, which never leaves this process. */
export class SecretDigest {
  readonly #salt = randomBytes(32)
  readonly #digest: Buffer

  constructor(secret: string) {
    this.#digest = this.#of(secret)
  }

  /** Whether another secret is the same. Takes as long whatever the answer is. */
  matches(secret: string): boolean {
    return timingSafeEqual(this.#digest, this.#of(secret))
  }

  #of(secret: string): Buffer {
    return createHash('sha256').update(this.#salt).update(secret).digest()
  }
}
