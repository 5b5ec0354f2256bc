/** What happens to a request when code of the gateway throws? The request ends, whatever state its response is in. */
import type { FastifyReply, FastifyRequest } from 'fastify'
import { GatewayError } from '../answers/errors.ts'
import { problemAnswer } from '../answers/problem.ts'
import { cutAnswer } from '../http/client-connection.ts'
import { discardBody } from './discard-body.ts'

/**
 * Ends a request in which something threw: with a response if none has begun, with a cut connection otherwise. Never throws.
 * Needed after `reply.hijack()`, because Fastify drops what is thrown from then on and the request would never end.
 */
export function answerFault(request: FastifyRequest, reply: FastifyReply, cause: unknown): void {
  const { exchange, id } = request
  const { raw: response } = reply
  const error = faultOf(cause)
  if (!reply.sent) reply.hijack()
  exchange.outcome.noteError(error)
  const mayAnswer = !response.headersSent && !response.destroyed
  if (!response.headersSent) exchange.outcome.status = error.statusCode
  try {
    if (mayAnswer) {
      // Without the fields that stages have added, because one of them may be what could not be written.
      const { headers, body } = problemAnswer(
        { code: error.code, headers: undefined, retryAfter: error.retryAfter },
        { requestId: id },
      )
      response.writeHead(error.statusCode, [...headers, 'Connection', 'close'])
      response.end(body)
      discardBody(request.raw)
      return
    }
  } catch {
    // The log has the first cause, and the connection is cut below.
  }
  cutAnswer(response)
}

/** The error to answer with. Anything that is no refusal is a fault of the gateway. */
function faultOf(cause: unknown): GatewayError {
  return cause instanceof GatewayError
    ? cause
    : new GatewayError('internal-error', { reason: 'the answer could not be made', cause })
}
