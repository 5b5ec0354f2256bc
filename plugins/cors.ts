/** Which allowed foreign origin sent the request? Judged before stage 0, so that its page can read every refusal too. */
import fp from 'fastify-plugin'

/** Which foreign origins may use the workspace. */
export interface CorsOptions {
  readonly allowedOrigins: readonly string[]
}

export default fp(
  async function cors(app, { allowedOrigins }: CorsOptions) {
    if (allowedOrigins.length === 0) return // nothing to look at in any request
    app.addHook('onRequest', function findAllowedOrigin({ exchange, raw }, _reply, done) {
      // Several `Origin` lines are one value with a comma here, which is no origin.
      const { origin } = raw.headers
      if (origin !== undefined && allowedOrigins.includes(origin)) exchange.allowOrigin = origin
      done()
    })
  },
  { name: 'cors', fastify: '5.x', dependencies: ['request-log'] },
)
