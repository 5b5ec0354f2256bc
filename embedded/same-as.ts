/** Is a guess the secret? Compared in constant time, whatever its length. */
import { createHash, timingSafeEqual } from 'node:crypto'

/** Makes a comparison with `secret`. */
export function sameAs(secret: string): (guess: unknown) => boolean {
  const digest = (text: string) => createHash('sha256').update(text).digest()
  const expected = digest(secret)
  return (guess) => typeof guess === 'string' && timingSafeEqual(digest(guess), expected)
}
