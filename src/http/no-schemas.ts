/** Which compilers of schemas does Fastify get? None: it would load its own at the start, although no route has a schema. */

/** Replaces Fastify's schema compilers. */
export const NO_SCHEMAS = {
  compilersFactory: { buildValidator: refuseSchema, buildSerializer: refuseSchema },
}

function refuseSchema(): never {
  throw new Error('a route with a schema needs a compiler of schemas')
}
