/** Which model does OpenClaw use in tests? This server with OpenAI's protocol, so that chat works without the Internet. */
import { once } from 'node:events'
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { elapse } from '../helpers/waiting.ts'

/** A call of the model. */
interface ModelCall {
  readonly headers: Record<string, string | string[] | undefined>
  readonly body: string
  /** Whether OpenClaw aborted the call. */
  aborted: boolean
  /** The number of pieces of the reply that were written so far. */
  written: number
}

/** A running model server. */
export interface Model {
  /** The URL of `/v1`. */
  readonly url: string
  readonly calls: ModelCall[]
  /** The pieces of the reply to every call. */
  answer: readonly string[]
  /** The pause before each piece, in milliseconds. Initially 20. */
  pauseMs: number
  /** A promise to wait for before the last piece. Initially none. */
  beforeLast: Promise<void>
  /** Whether to write pieces without an end, until the call is aborted. Initially false. */
  endless: boolean
  readonly stop: () => Promise<void>
}

export async function startModel(): Promise<Model> {
  const calls: ModelCall[] = []
  const server = createServer(async (request, response) => {
    let body = ''
    for await (const chunk of request.setEncoding('utf8')) body += chunk
    if (request.method === 'GET') {
      send(response, { object: 'list', data: [{ id: 'fake-1', object: 'model' }] })
      return
    }
    const call: ModelCall = { headers: request.headers, body, aborted: false, written: 0 }
    calls.push(call)
    response.on('close', () => (call.aborted = !response.writableFinished))
    await write(response, call, model)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const model: Model = {
    url: `http://127.0.0.1:${port}/v1`,
    calls,
    answer: ['Houston', ', we', ' have', ' a', ' reply', '.'],
    pauseMs: 20,
    beforeLast: Promise.resolve(),
    endless: false,
    async stop() {
      server.close()
      server.closeAllConnections()
      await once(server, 'close')
    },
  }
  return model
}

async function write(response: ServerResponse, call: ModelCall, model: Model): Promise<void> {
  const { answer } = model
  const { stream } = JSON.parse(call.body) as { stream?: boolean }
  if (stream !== true) {
    const message = { role: 'assistant', content: answer.join('') }
    send(response, completion('chat.completion', { message, finish_reason: 'stop' }))
    return
  }
  response.writeHead(200, { 'Content-Type': 'text/event-stream' })
  const say = (delta: object, reason: 'stop' | null) => {
    const chunk = completion('chat.completion.chunk', { delta, finish_reason: reason })
    response.write(`data: ${JSON.stringify(chunk)}\n\n`)
  }
  say({ role: 'assistant', content: '' }, null)
  for (let i = 0; (model.endless || i < answer.length) && !response.destroyed; i += 1) {
    await elapse(model.pauseMs, 'a model takes its time')
    if (i === answer.length - 1) await model.beforeLast
    say({ content: answer[i] ?? ' and on' }, null)
    call.written += 1
  }
  say({}, 'stop')
  response.end('data: [DONE]\n\n')
}

function completion(object: string, choice: object): object {
  return {
    id: 'chatcmpl-fake',
    object,
    created: Math.floor(Date.now() / 1000),
    model: 'fake-1',
    choices: [{ index: 0, ...choice }],
  }
}

function send(response: ServerResponse, body: object): void {
  response.writeHead(200, { 'Content-Type': 'application/json' }).end(JSON.stringify(body))
}
