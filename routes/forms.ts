/** What did a form, or a script in its place, send to the gateway itself? Fields, from a body that is read whole and bounded. */
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { ONE_TOKEN_DETAIL } from '../src/answers/details.ts'
import { GatewayError } from '../src/answers/errors.ts'
import type { Watchdog } from '../src/limits/watchdog.ts'
import { readOwnBody } from '../src/request/own-body.ts'

/** The largest form in bytes. A form holds one token and one address. */
const MAX_FORM_BYTES = 16 * 1024

/** A JSON body. It is parsed by the route that takes JSON, because other methods are answered 405 whatever their body. */
class JsonText {
  readonly text: string

  constructor(text: string) {
    this.text = text
  }
}

/** Makes a plugin read forms and JSON. Any other body is neither, and is not read. */
export function takeForms(app: FastifyInstance, watchdog: Watchdog): void {
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('application/x-www-form-urlencoded', async (request: FastifyRequest) => {
    return new URLSearchParams(await readOwnBody(request, MAX_FORM_BYTES, watchdog))
  })
  app.addContentTypeParser('application/json', async (request: FastifyRequest) => {
    return new JsonText(await readOwnBody(request, MAX_FORM_BYTES, watchdog))
  })
  app.addContentTypeParser('*', (_request, _body, done) => {
    done(null)
  })
}

/** The fields of a form; none when the body is no form. */
export function formOf({ body }: FastifyRequest): URLSearchParams {
  return body instanceof URLSearchParams ? body : new URLSearchParams()
}

/**
 * Whether each field of a form stands once. There may be thousands of fields, so none is looked for among all the others.
 * @param list the field that may stand several times, with another value each time
 */
export function hasEachOnce(form: URLSearchParams, list: string): boolean {
  const seen = new Set<string>()
  for (const [name, value] of form) {
    const one = name === list ? `${name}=${value}` : name
    if (seen.has(one)) return false
    seen.add(one)
  }
  return true
}

/** The fields of a JSON body whose values are texts; undefined when the body is not JSON. @throws {GatewayError} `bad-request` */
export function jsonOf({ body }: FastifyRequest): URLSearchParams | undefined {
  if (!(body instanceof JsonText)) return undefined
  let value: unknown
  try {
    value = JSON.parse(body.text)
  } catch {
    throw NOT_ONE_TOKEN // the parser's own error quotes the body
  }
  const fields = new URLSearchParams()
  if (typeof value !== 'object' || value === null) throw NOT_ONE_TOKEN
  for (const [name, text] of Object.entries(value))
    if (typeof text === 'string') fields.append(name, text)
  return fields
}

/** The error of a form without exactly one token. */
export const NOT_ONE_TOKEN = new GatewayError('bad-request', {
  reason: 'not exactly one token',
  detail: ONE_TOKEN_DETAIL,
})
