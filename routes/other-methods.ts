/** Which methods does an address of the gateway take? The others are answered 405, with those that it takes in `Allow`. */
import type { FastifyInstance } from 'fastify'
import { GatewayError } from '../src/answers/errors.ts'
import { METHODS } from '../src/http/methods.ts'

/**
 * Answers 405 to every method that an address does not have.
 * @param isPublic whether those who are not signed in get that answer too
 */
export function refuseOtherMethods(
  app: FastifyInstance,
  url: string,
  allowed: readonly string[],
  isPublic = true,
): void {
  app.route({
    url,
    method: METHODS.filter((method) => !allowed.includes(method)),
    config: { public: isPublic },
    handler() {
      throw new GatewayError('method-not-allowed', { headers: { Allow: allowed.join(', ') } })
    },
  })
}
