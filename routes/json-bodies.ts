/** How do routes with JSON read their bodies? By this parser alone: what is not declared as JSON is never read as JSON. */
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { ownerRefusal } from '../src/admin/members.ts'
import type { Watchdog } from '../src/limits/watchdog.ts'
import { readOwnBody } from '../src/request/own-body.ts'

const NOT_JSON = ownerRefusal('bad-request', 'not JSON')

/**
 * Reads JSON bodies on the routes of `app`, instead of Fastify. An empty body is undefined; any other that is not JSON is `bad-request`.
 * @param maxBytes a longer body is refused
 */
export function takeJson(app: FastifyInstance, maxBytes: number, watchdog: Watchdog): void {
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('application/json', async (request: FastifyRequest) =>
    parseJson(await readOwnBody(request, maxBytes, watchdog)),
  )
  // A form of a foreign page can send text/plain without a preflight.
  app.addContentTypeParser('*', (_request, _body, done) => {
    done(NOT_JSON)
  })
}

function parseJson(text: string): unknown {
  if (text === '') return undefined
  try {
    return JSON.parse(text) as unknown
  } catch {
    throw NOT_JSON
  }
}
