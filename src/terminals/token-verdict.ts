/**
 * Was the token right that a client said in its first message? The terminal's first frame tells: a wrong one is answered with a
 * close frame of code 1008, and before it is right a terminal sends no message.
 */
import type { Duplex } from 'node:stream'
import type { PasswordTry } from '../limits/password-tries.ts'
import type { Outcome } from '../request/outcome.ts'
import { NOT_AUTHENTICATED } from './protocol.ts'

/** The first byte of a close frame, a ping and a pong (RFC 6455 section 5.2). */
const CLOSE = 0x88
const PING = 0x89
const PONG = 0x8a

/** The last opcode of a message. */
const BINARY = 0x2

/** Why the connection ended, for the log. */
const WRONG_TOKEN_REASON = 'wrong token'

/** The head of a short frame and the code of a close frame, in bytes. */
const CLOSE_BYTES = 4

/**
 * Settles a try by the first frame of a terminal, and then reads no more. Without a frame the try stays paid for. Call it right
 * before the one who reads the connection begins.
 * @param head the bytes that came behind the terminal's `101`
 * @param outcome gets the reason when the token was wrong
 */
export function settleByFirstFrame(
  service: Duplex,
  head: Buffer,
  attempt: PasswordTry,
  outcome: Pick<Outcome, 'reason'>,
): void {
  const frame = Buffer.alloc(CLOSE_BYTES)
  let bytes = 0
  let skipped = 0
  /** @returns whether the try needs no more bytes */
  const read = (chunk: Buffer): boolean => {
    let at = 0
    while (at < chunk.length) {
      const step = Math.min(skipped, chunk.length - at)
      skipped -= step
      at += step
      if (at >= chunk.length) break
      frame[bytes++] = chunk[at++] ?? 0
      const [first = 0, second = 0] = frame
      if (first === PING || first === PONG) {
        if (bytes < 2) continue
        skipped = second & 0x7f
        bytes = 0
      } else if (first !== CLOSE) {
        if ((first & 0x0f) <= BINARY) attempt.settle(true)
        return true
      } else if (bytes >= 2 && second < 2) {
        attempt.settle(undefined)
        return true
      } else if (bytes === CLOSE_BYTES) {
        const isWrong = frame.readUInt16BE(2) === NOT_AUTHENTICATED
        if (isWrong) outcome.reason ??= WRONG_TOKEN_REASON
        attempt.settle(isWrong ? false : undefined)
        return true
      }
    }
    return false
  }
  if (read(head)) return
  const onData = (chunk: Buffer) => {
    if (read(chunk)) service.off('data', onData)
  }
  service.on('data', onData)
}
