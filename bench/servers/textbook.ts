/**
 * How fast is a proxy that is built as the packages' READMEs show? It has @fastify/http-proxy, a preHandler that verifies each
 * token with jose, rate-limiter-flexible's memory limiter, and Fastify's request log. Nothing is tuned.
 */
import proxy from '@fastify/http-proxy'
import Fastify from 'fastify'
import { jwtVerify } from 'jose'
import { RateLimiterMemory } from 'rate-limiter-flexible'
import { SECRET, WORKSPACE } from '../workspace.ts'

const [, , port, upstreamPort] = process.argv
const key = new TextEncoder().encode(SECRET)
// One limit that counts but is never reached, and one that refuses every request after the first.
const ample = new RateLimiterMemory({ points: 1e9, duration: 60 })
const spent = new RateLimiterMemory({ points: 1, duration: 60 })

const app = Fastify({ logger: true, trustProxy: 'loopback' })

app.addHook('onRequest', async (request, reply) => {
  if (/(?:\.env|openclaw\.json|\.vault\.enc|\.key)$/i.test(request.url))
    return reply.code(403).send({ error: 'sensitive file' })
  try {
    await (request.url.startsWith('/limited') ? spent : ample).consume(request.ip)
  } catch {
    return reply.code(429).send({ error: 'too many requests' })
  }
  return undefined
})

await app.register(proxy, {
  upstream: `http://127.0.0.1:${upstreamPort}`,
  websocket: true,
  preHandler: async (request, reply) => {
    try {
      const token = (request.headers.authorization ?? '').slice('Bearer '.length)
      await jwtVerify(token, key, { algorithms: ['HS256'], audience: WORKSPACE })
    } catch {
      return reply.code(401).send({ error: 'sign in' })
    }
    return undefined
  },
})

await app.listen({ host: '127.0.0.1', port: Number(port), backlog: 4096 })
