/** How does the soak send one request? On a connection of its own, whose answer is read whole. */
import { request, type IncomingMessage } from 'node:http'

/** A request. */
export interface Question {
  readonly port: number
  readonly path: string
  readonly method?: 'GET' | 'POST'
  readonly headers: Readonly<Record<string, string>>
  /** The fields of a form; without them there is no body. */
  readonly form?: Readonly<Record<string, string>>
}

/** The answer to it. */
export interface Answer {
  readonly status: number
  readonly text: string
  /** The values of Set-Cookie. */
  readonly cookies: readonly string[]
}

/** Sends a request. */
export async function ask({
  port,
  path,
  method = 'GET',
  headers,
  form,
}: Question): Promise<Answer> {
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>()
  const body = form === undefined ? '' : new URLSearchParams(form).toString()
  const type = { 'Content-Type': 'application/x-www-form-urlencoded' }
  const fields = { ...headers, ...(form === undefined ? {} : type) }
  request({ host: '127.0.0.1', port, path, method, headers: fields, agent: false }, resolve)
    .on('error', reject)
    .end(body)
  const answer = await promise
  let text = ''
  for await (const chunk of answer.setEncoding('utf8')) text += chunk as string
  return { status: answer.statusCode ?? 0, text, cookies: answer.headers['set-cookie'] ?? [] }
}

/** Sends a request whose status is known. @throws {Error} for another one */
export async function askFor(status: number, question: Question): Promise<Answer> {
  const answer = await ask(question)
  if (answer.status === status) return answer
  const { method = 'GET', path } = question
  throw new Error(
    `${method} ${path} answers ${answer.status}, not ${status}: ${answer.text.slice(0, 300)}`,
  )
}
