/** Does the stand-in agent behave like OpenClaw? */
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { request as httpRequest, type IncomingMessage } from 'node:http'
import t, { type Test } from 'tap'
import { WebSocket } from 'ws'
import { startAgentApi, type AgentApiOptions } from '../../embedded/agent-api.ts'

async function startAgent(t: Test, options: AgentApiOptions = {}) {
  const agent = await startAgentApi({ wordDelayMs: 1, tickMs: 5, ...options })
  t.teardown(agent.close)
  return agent
}

function chat(url: string, body: unknown) {
  const headers = { 'content-type': 'application/json' }
  return fetch(`${url}/v1/chat/completions`, {
    method: 'POST',
    headers,
    body: JSON.stringify(body),
  })
}

t.test('models and probes respond, any other path is 404, all in JSON', async (t) => {
  const { url } = await startAgent(t)
  const answers: [string, number, object][] = [
    ['/v1/models', 200, { object: 'list', data: [{ object: 'model' }] }],
    ['/health', 200, { ok: true, status: 'live' }],
    ['/readyz', 200, { ready: true }],
    ['/nope', 404, { error: { type: 'not_found' } }],
  ]
  for (const [path, status, body] of answers) {
    const answer = await fetch(url + path)
    t.equal(answer.status, status, path)
    t.match(answer.headers.get('content-type'), 'application/json')
    t.match(await answer.json(), body)
  }
})

t.test('a plain completion repeats the last words of the user', async (t) => {
  const { url } = await startAgent(t)
  const content = [{ type: 'text', text: 'hello  there' }]
  const messages = [
    { role: 'user', content: 'first' },
    { role: 'user', content },
    { role: 'assistant' },
  ]
  const answer = await chat(url, { messages })
  t.match(await answer.json(), {
    object: 'chat.completion',
    choices: [{ message: { role: 'assistant', content: /^You said: hello there / } }],
  })
})

t.test('a streamed completion arrives word by word and ends with [DONE]', async (t) => {
  const { url } = await startAgent(t)
  const answer = await chat(url, {
    stream: true,
    messages: [{ role: 'user', content: 'good day' }],
  })
  t.match(answer.headers.get('content-type'), 'text/event-stream')
  const events = (await answer.text()).trimEnd().split('\n\n')
  t.equal(events.at(-1), 'data: [DONE]')
  const chunks = events.slice(0, -1).map((event) => JSON.parse(event.replace('data: ', '')))
  t.ok(chunks.every((chunk) => chunk.object === 'chat.completion.chunk'))
  t.equal(chunks.at(-1).choices[0].finish_reason, 'stop')
  const said = chunks.map((chunk) => chunk.choices[0].delta.content ?? '').join('')
  t.match(said, /^You said: good day \(This/)
})

t.test('a completion without any message still gets a reply', async (t) => {
  const { url } = await startAgent(t)
  t.match(await (await chat(url, {})).json(), { choices: [{ message: { content: /nothing/ } }] })
})

t.test('events are sent for as long as the client is connected', async (t) => {
  const { url } = await startAgent(t)
  const answer = await fetch(`${url}/events`)
  t.match(answer.headers.get('content-type'), 'text/event-stream')
  let text = ''
  for await (const chunk of answer.body!.pipeThrough(new TextDecoderStream())) {
    text += chunk
    if (text.split('event: tick').length > 3) break
  }
  t.match(
    text,
    /^event: tick\ndata: \{"count":1,"at":"\d{4}-[^"]+"\}\n\nevent: tick\ndata: \{"count":2/,
  )
})

t.test('closing the server ends an event stream that a client still reads', async (t) => {
  const agent = await startAgent(t)
  const { body } = await fetch(`${agent.url}/events`)
  const reader = body!.getReader()
  await reader.read()
  await agent.close()
  await t.rejects(async () => {
    while (!(await reader.read()).done);
  })
})

t.test('echo returns what the server received', async (t) => {
  const { url } = await startAgent(t)
  const answer = await fetch(`${url}/echo?a=%2F`, { headers: { 'x-test': 'yes' } })
  t.match(await answer.json(), {
    method: 'GET',
    url: '/echo?a=%2F',
    headers: { 'x-test': 'yes' },
    body: { length: 0 },
  })
})

t.test('echo accepts a body of any type and size', async (t) => {
  const { url } = await startAgent(t)
  const large = Buffer.alloc(5 * 1024 * 1024, 'x')
  const cases: [string | undefined, Buffer][] = [
    ['application/octet-stream', large],
    ['application/json', Buffer.from('{not json')],
    ['text/plain', Buffer.from('text')],
    ['no/such-type', Buffer.from('')],
    [undefined, Buffer.from('untyped')],
  ]
  for (const [type, body] of cases) {
    const headers = type === undefined ? {} : { 'content-type': type }
    const request = httpRequest(`${url}/echo`, { method: 'POST', headers }).end(body)
    const [answer] = (await once(request, 'response')) as [IncomingMessage]
    const sha256 = createHash('sha256').update(body).digest('hex')
    const seen = JSON.parse(Buffer.concat(await answer.toArray()).toString())
    t.match(seen, { method: 'POST', body: { length: body.length, sha256 } }, type ?? 'no type')
  }
})

t.test('a WebSocket at any path echoes text and bytes', async (t) => {
  const { url } = await startAgent(t)
  for (const path of ['/', '/ws', '/v1/models', '/some/where?x=1']) {
    const socket = new WebSocket(url.replace('http', 'ws') + path)
    await once(socket, 'open')
    for (const message of ['text', Buffer.from([0, 255]), Buffer.alloc(3 * 1024 * 1024, 1)]) {
      socket.send(message)
      const [data, binary] = (await once(socket, 'message')) as [Buffer, boolean]
      t.equal(binary, typeof message !== 'string')
      t.ok(data.equals(Buffer.from(message)), path)
    }
    socket.close()
    await once(socket, 'close')
  }
})

t.test('a flood of messages is echoed completely even if the client reads late', async (t) => {
  const { url } = await startAgent(t)
  const socket = new WebSocket(url.replace('http', 'ws'))
  await once(socket, 'open')
  socket.pause()
  const message = Buffer.alloc(256 * 1024, 7)
  for (let sent = 0; sent < 64; sent += 1) socket.send(message)
  let received = 0
  const all = new Promise<void>((resolve) => {
    socket.on('message', () => {
      received += 1
      if (received === 64) resolve()
    })
  })
  socket.resume()
  await all
  socket.terminate()
})

const FORWARDED = ['x-forwarded-for', 'X-Forwarded-User', 'x-real-ip', 'forwarded'] as const

t.test('a request with forwarding headers is refused on every path except /health', async (t) => {
  const { url } = await startAgent(t)
  for (const name of FORWARDED) {
    const headers = { [name]: '203.0.113.9' }
    for (const path of ['/v1/models', '/readyz', '/echo', '/nope']) {
      const answer = await fetch(url + path, { headers })
      t.equal(answer.status, 403, `${name} ${path}`)
      t.match(await answer.json(), { error: { type: 'proxy_attribution_required' } })
    }
    t.equal((await fetch(`${url}/health`, { headers })).status, 200)
    const socket = new WebSocket(url.replace('http', 'ws'), { headers })
    const [, answer] = (await once(socket, 'unexpected-response')) as [unknown, IncomingMessage]
    t.equal(answer.statusCode, 403, `${name} on a WebSocket`)
    answer.destroy()
  }
  t.equal((await fetch(`${url}/v1/models`, { headers: { via: '1.1 caddy' } })).status, 200)
})

t.test('the refusal can be switched off, for a trusted proxy', async (t) => {
  const { url } = await startAgent(t, { refuseForwarded: false })
  const headers = { 'x-forwarded-for': '203.0.113.9' }
  t.equal((await fetch(`${url}/v1/models`, { headers })).status, 200)
  const socket = new WebSocket(url.replace('http', 'ws'), { headers })
  await once(socket, 'open')
  socket.terminate()
})
