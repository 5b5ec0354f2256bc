/** What does an agent's API do? This stand-in for OpenClaw has the same endpoints, as seen behind a stripped `/api`. */
import { createHash } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import { Readable } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { WebSocketServer, type WebSocket } from 'ws'
import { buildStandIn, closeSocketsWith, listen, refuseUpgrade, type Running } from './listener.ts'

/** Options of the stand-in agent. */
export interface AgentApiOptions {
  /** Refuse requests with forwarding headers, as OpenClaw does unless it trusts the proxy. Default true. */
  refuseForwarded?: boolean
  /** Milliseconds between two words of a streamed response. Default 150. */
  wordDelayMs?: number
  /** Milliseconds between two events of `/events`. Default 1000. */
  tickMs?: number
  /** Uses a credential that the agent does not hold, for each completion. Resolves with whether it worked. Default: nothing is used. */
  askThroughVault?: (() => Promise<boolean>) | undefined
}

interface Completion {
  model?: string
  stream?: boolean
  messages?: { role?: string; content?: string | { text?: string }[] }[]
}

const MODEL = 'embedded-agent'
const USED_VAULT = '(Through the vault it has just used a credential that it does not hold.)'.split(
  ' ',
)
const FORWARDED = /^(?:x-forwarded-.*|x-real-ip|forwarded)$/
const EVENT_STREAM = { 'content-type': 'text/event-stream', 'cache-control': 'no-store' }
/** With this many unsent bytes of echo, the server stops reading from the client. */
const ECHO_BUFFER_BYTES = 1024 * 1024
const ATTRIBUTION_REQUIRED = {
  error: {
    message:
      'Proxy client attribution is required. Configure gateway.trustedProxies, or forward no client address.',
    type: 'proxy_attribution_required',
  },
}

/** Starts the stand-in agent: models, chat (plain and streamed), events, echo over HTTP and WebSocket, probes. */
export async function startAgentApi(options: AgentApiOptions = {}): Promise<Running> {
  const { refuseForwarded = true, wordDelayMs = 150, tickMs = 1000 } = options
  const app = buildStandIn()
  if (refuseForwarded) app.addHook('onRequest', refuseForwardedRequest)
  app.setNotFoundHandler(
    async (_request, reply) => await reply.code(404).send(problem('not_found')),
  )
  app.get('/health', async () => ({ ok: true, status: 'live' }))
  app.get('/readyz', async () => ({ ready: true }))
  app.get('/v1/models', async () => ({ object: 'list', data: [{ id: MODEL, object: 'model' }] }))
  app.post<{ Body: Completion | null }>('/v1/chat/completions', async (request, reply) => {
    const hasUsedVault = (await options.askThroughVault?.()) ?? false
    const words = [...answerTo(request.body), ...(hasUsedVault ? USED_VAULT : [])]
    if (!request.body?.stream) return completion(words.join(' '))
    return await reply.headers(EVENT_STREAM).send(Readable.from(streamWords(words, wordDelayMs)))
  })
  app.get('/events', { exposeHeadRoute: false }, (_request, reply) => sendTicks(reply, tickMs))
  await app.register(echoRoutes)
  echoWebSockets(app, refuseForwarded)
  return await listen(app)
}

async function refuseForwardedRequest(request: FastifyRequest, reply: FastifyReply) {
  if (request.routeOptions.url === '/health' || !isForwarded(request.headers)) return
  await reply.code(403).send(ATTRIBUTION_REQUIRED)
}

function isForwarded(headers: IncomingHttpHeaders): boolean {
  return Object.keys(headers).some((name) => FORWARDED.test(name))
}

/** The words of the agent's reply: they repeat the question, to show that it arrived. */
function answerTo(body: Completion | null): string[] {
  const content = body?.messages?.findLast((message) => message.role === 'user')?.content ?? ''
  const text =
    typeof content === 'string' ? content : content.map((part) => part.text ?? '').join(' ')
  const said = text.split(/\s+/).filter((word) => word !== '')
  const heard = said.length > 0 ? ['You', 'said:', ...said] : ['You', 'said', 'nothing', 'yet.']
  return [...heard, '(This', 'is', 'the', 'built-in', 'agent.)']
}

function completion(content: string) {
  return {
    id: 'chatcmpl-embedded',
    object: 'chat.completion',
    created: Math.floor(Date.now() / 1000),
    model: MODEL,
    choices: [{ index: 0, message: { role: 'assistant', content }, finish_reason: 'stop' }],
  }
}

async function* streamWords(words: string[], wordDelayMs: number): AsyncGenerator<string> {
  const created = Math.floor(Date.now() / 1000)
  const chunk = (delta: { role?: string; content?: string }, reason: 'stop' | null) =>
    `data: ${JSON.stringify({
      id: 'chatcmpl-embedded',
      object: 'chat.completion.chunk',
      created,
      model: MODEL,
      choices: [{ index: 0, delta, finish_reason: reason }],
    })}\n\n`
  yield chunk({ role: 'assistant', content: '' }, null)
  for (const [index, word] of words.entries()) {
    yield chunk({ content: index === 0 ? word : ` ${word}` }, null)
    await delay(wordDelayMs)
  }
  yield chunk({}, 'stop')
  yield 'data: [DONE]\n\n'
}

/** Sends an endless event stream, which stops when the client disconnects. */
function sendTicks(reply: FastifyReply, tickMs: number): void {
  reply.hijack()
  const { raw } = reply
  let count = 0
  const tick = () => {
    // Do not queue ticks for a client that does not read.
    if (raw.writableNeedDrain) return
    count += 1
    raw.write(`event: tick\ndata: ${JSON.stringify({ count, at: new Date().toISOString() })}\n\n`)
  }
  raw.writeHead(200, EVENT_STREAM)
  tick()
  const timer = setInterval(tick, tickMs)
  raw.on('close', () => clearInterval(timer))
}

/** Returns what the server received. The body is hashed as a stream, so any type and size is fine. */
async function echoRoutes(app: FastifyInstance): Promise<void> {
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('*', (_request, body, done) => done(null, body))
  app.route({
    method: ['GET', 'POST'],
    url: '/echo',
    handler: async function echo(request) {
      const hash = createHash('sha256')
      let length = 0
      for await (const chunk of (request.body ?? []) as AsyncIterable<Buffer>) {
        length += chunk.length
        hash.update(chunk)
      }
      const { method, url = '', headers } = request.raw
      return { method, url, headers, body: { length, sha256: hash.digest('hex') } }
    },
  })
}

/** Echoes WebSocket messages, at any path, as OpenClaw accepts WebSockets. */
function echoWebSockets(app: FastifyInstance, refuseForwarded: boolean): void {
  const sockets = new WebSocketServer({ noServer: true, perMessageDeflate: true })
  sockets.on('connection', echoMessages)
  closeSocketsWith(app, sockets)
  app.server.on('upgrade', (request, socket, head) => {
    if (refuseForwarded && isForwarded(request.headers)) {
      const type = { 'content-type': 'application/json; charset=utf-8' }
      refuseUpgrade(socket, 403, type, JSON.stringify(ATTRIBUTION_REQUIRED))
      return
    }
    sockets.handleUpgrade(request, socket, head, (client) => sockets.emit('connection', client))
  })
}

function echoMessages(client: WebSocket): void {
  client.on('error', () => client.terminate())
  client.on('message', (data, binary) => {
    client.send(data as Buffer, { binary }, () => {
      if (client.isPaused && client.bufferedAmount < ECHO_BUFFER_BYTES) client.resume()
    })
    if (client.bufferedAmount >= ECHO_BUFFER_BYTES) client.pause()
  })
}

function problem(type: string) {
  return { error: { message: 'There is nothing here.', type } }
}
