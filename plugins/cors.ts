/** Which allowed foreign origin sent the request? Noted before the first stage, so that the page can read refusals of all stages. */
import fp from 'fastify-plugin'

/** What the plugin needs besides the request. */
interface CorsOptions {
  /** Foreign origins whose pages may use the workspace. */
  readonly allowedOrigins: readonly string[]
}

export default fp(
  async function cors(app, { allowedOrigins }: CorsOptions) {
    if (allowedOrigins.length === 0) return // without allowed origins, requests pay for no hook
    app.addHook('onRequest', function findAllowedOrigin({ exchange, raw }, _reply, done) {
      // Node joins several `Origin` lines with a comma, and the result is no origin of the list.
      const { origin } = raw.headers
      if (origin !== undefined && allowedOrigins.includes(origin)) exchange.allowOrigin = origin
      done()
    })
  },
  { name: 'cors', fastify: '5.x', dependencies: ['request-log'] },
)
