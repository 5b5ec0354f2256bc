/** How does the gateway send a request of its own to a service? It gets the whole response, if that is small and in time. */
import { GatewayError, upstreamErrorFrom } from '../answers/errors.ts'
import type { Service } from './service.ts'
import type { AnswerReceiver, ServiceConnection } from './connection.ts'
import type { RequestHead } from './request-text.ts'

/** A whole response. */
export interface SmallAnswer {
  readonly status: number
  /** Name and value in turn. */
  readonly fields: readonly string[]
  readonly body: string
}

/** The limits of a small response. */
export interface SmallAnswerLimits {
  readonly maxBytes: number
  readonly timeoutMs: number
}

/**
 * Sends a request to a service and waits for its whole response.
 * @throws {GatewayError} `upstream-unreachable`, also when the response is too large; `upstream-timeout`
 */
export function askForSmall(
  service: Service,
  head: Omit<RequestHead, 'hasBody'>,
  { maxBytes, timeoutMs }: SmallAnswerLimits,
): Promise<SmallAnswer> {
  const { promise, resolve, reject } = Promise.withResolvers<SmallAnswer>()
  let connection: ServiceConnection
  const pieces: Buffer[] = []
  let size = 0
  let begun: Pick<SmallAnswer, 'status' | 'fields'> = { status: 0, fields: [] }
  const fail = (error: GatewayError) => {
    clearTimeout(timer)
    reject(error)
  }
  const giveUp = (error: GatewayError) => {
    connection.destroy()
    fail(error)
  }
  const timer = setTimeout(
    () => giveUp(new GatewayError('upstream-timeout', { reason: service.name })),
    timeoutMs,
  )
  const receiver: AnswerReceiver = {
    onConnect() {},
    onInformational() {},
    onHead(status, fields) {
      begun = { status, fields }
      return false
    },
    onBody(piece) {
      size += piece.length
      if (size > maxBytes)
        giveUp(
          new GatewayError('upstream-unreachable', { reason: `${service.name} said too much` }),
        )
      else pieces.push(piece)
      return true
    },
    onEnd() {
      clearTimeout(timer)
      resolve({ ...begun, body: Buffer.concat(pieces).toString('utf8') })
    },
    onError(error, mayRepeat) {
      if (mayRepeat) ask(service.pool.dial())
      else fail(error)
    },
  }
  const ask = (over: ServiceConnection) => {
    connection = over
    try {
      connection.send({ ...head, hasBody: false }, receiver)
    } catch (error) {
      giveUp(upstreamErrorFrom(error))
    }
  }
  ask(service.pool.take())
  return promise
}
