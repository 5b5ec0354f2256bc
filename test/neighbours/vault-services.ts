/**
 * Which services do agents use through the vault in tests? This server: GitHub's API and git, and the two model services, over https
 * with a certificate of its own. It notes what it got, and repeats none of it.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { run } from './neighbour.ts'

/** A request that came. */
interface Came {
  readonly method: string
  readonly url: string
  readonly headers: IncomingHttpHeaders
}

/** The server. */
export interface Services {
  readonly origin: string
  /** The file with the certificate that makes the server trusted. */
  readonly caFile: string
  readonly came: Came[]
  /** What is waited for between the two pieces of a stream. */
  beforeSecond: Promise<unknown>
  stop(): Promise<void>
}

/** The two pieces of every streamed answer. */
export const PIECES = ['Houston, ', 'we have a reply.'] as const

const REPOSITORY = '/acme/site.git'

/** Starts the services. @param folder for the certificate and the repository */
export async function startServices(folder: string): Promise<Services> {
  const { key, cert, caFile } = await makeCertificate(folder)
  const root = join(folder, 'repositories')
  await makeRepository(root)
  const services: Services = {
    ...{ origin: '', caFile, came: [], beforeSecond: Promise.resolve() },
    async stop() {
      server.close()
      server.closeAllConnections()
      await once(server, 'close')
    },
  }
  const server = createServer({ key, cert }, (request, response) => {
    const { method = '', url = '', headers } = request
    services.came.push({ method, url, headers })
    void answer(request, response, { root, services })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  return Object.assign(services, { origin: `https://localhost:${port}` })
}

async function makeCertificate(folder: string) {
  const [keyFile, caFile] = [join(folder, 'key.pem'), join(folder, 'ca.pem')]
  const made = ['-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes']
  const named = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost', '-days', '2']
  await run('openssl', ['req', ...made, ...named, '-keyout', keyFile, '-out', caFile])
  return { key: readFileSync(keyFile), cert: readFileSync(caFile), caFile }
}

/** A bare repository with one commit, that may be pushed to. */
async function makeRepository(root: string): Promise<void> {
  const [bare, work] = [join(root, REPOSITORY), join(root, 'work')]
  mkdirSync(root)
  const identity = ['-c', 'user.name=a', '-c', 'user.email=a@example.test']
  await run('git', ['init', '--quiet', '--bare', '--initial-branch=main', bare])
  await run('git', ['-C', bare, 'config', 'http.receivepack', 'true'])
  await run('git', ['clone', '--quiet', bare, work])
  writeFileSync(join(work, 'README'), 'the site\n')
  await run('git', ['-C', work, 'add', 'README'])
  await run('git', ['-C', work, ...identity, 'commit', '--quiet', '-m', 'first'])
  await run('git', ['-C', work, 'push', '--quiet', 'origin', 'HEAD:main'])
}

interface Behind {
  readonly root: string
  readonly services: Services
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  { root, services }: Behind,
): Promise<void> {
  const { url = '', headers } = request
  const hasKey = headers.authorization !== undefined || headers['x-api-key'] !== undefined
  if (!hasKey) {
    response.writeHead(401, { 'WWW-Authenticate': 'Basic realm="service"' }).end()
    return
  }
  if (url.startsWith(REPOSITORY)) {
    answerGit(request, response, root)
    return
  }
  request.resume()
  if (url === '/v1/messages') await stream(response, MESSAGES, services)
  else if (url === '/v1/chat/completions') await stream(response, COMPLETIONS, services)
  else if (url.startsWith('/repos/events')) await stream(response, LINES, services)
  else response.writeHead(200, { 'Content-Type': 'application/json' }).end('{"name":"site"}')
}

/** Writes a stream of events, with a wait before the last piece of text. */
async function stream(
  response: ServerResponse,
  events: readonly [string, string],
  services: Services,
): Promise<void> {
  response.writeHead(200, { 'Content-Type': 'text/event-stream' })
  response.write(events[0])
  await services.beforeSecond
  response.end(events[1])
}

const event = (data: { readonly type: string }) =>
  `event: ${data.type}\ndata: ${JSON.stringify(data)}\n\n`
const delta = (text: string) =>
  event({ type: 'content_block_delta', index: 0, delta: { type: 'text_delta', text } } as {
    type: string
  })

const MESSAGE = {
  ...{ id: 'msg_1', type: 'message', role: 'assistant', model: 'fake-1', content: [] },
  ...{ stop_reason: null, stop_sequence: null, usage: { input_tokens: 1, output_tokens: 1 } },
}

/** The events of Anthropic's Messages API. */
const MESSAGES: readonly [string, string] = [
  [
    { type: 'message_start', message: MESSAGE },
    { type: 'content_block_start', index: 0, content_block: { type: 'text', text: '' } },
  ]
    .map(event)
    .join('') + delta(PIECES[0]),
  delta(PIECES[1]) +
    [
      { type: 'content_block_stop', index: 0 },
      {
        type: 'message_delta',
        delta: { stop_reason: 'end_turn', stop_sequence: null },
        usage: { output_tokens: 2 },
      },
      { type: 'message_stop' },
    ]
      .map(event)
      .join(''),
]

const chunk = (content: string) => {
  const choices = [{ index: 0, delta: { content }, finish_reason: null }]
  const all = { id: 'c1', object: 'chat.completion.chunk', created: 1, model: 'fake-1', choices }
  return `data: ${JSON.stringify(all)}\n\n`
}

/** The pieces as lines: what comes behind the last line break waits for more (docs/vault.md). */
const LINES = [`${PIECES[0]}\n`, `${PIECES[1]}\n`] as const

/** The events of OpenAI's chat completions. */
const COMPLETIONS: readonly [string, string] = [
  chunk(PIECES[0]),
  `${chunk(PIECES[1])}data: [DONE]\n\n`,
]

/** Answers with git's own CGI program (git-http-backend(1)). */
function answerGit(request: IncomingMessage, response: ServerResponse, root: string): void {
  const { method = '', url = '', headers } = request
  const [path = '', query = ''] = url.split('?')
  const child = spawn('git', ['http-backend'], {
    stdio: ['pipe', 'pipe', 'ignore'],
    env: {
      PATH: process.env['PATH'],
      GIT_PROJECT_ROOT: root,
      GIT_HTTP_EXPORT_ALL: '1',
      REQUEST_METHOD: method,
      PATH_INFO: path,
      QUERY_STRING: query,
      CONTENT_TYPE: headers['content-type'] ?? '',
      HTTP_CONTENT_ENCODING: headers['content-encoding'] ?? '',
      GIT_PROTOCOL: String(headers['git-protocol'] ?? ''),
      REMOTE_USER: 'agent',
    },
  })
  request.pipe(child.stdin).on('error', () => {}) // the program may end before it has read everything
  const chunks: Buffer[] = []
  child.stdout.on('data', (piece: Buffer) => chunks.push(piece))
  child.on('close', () => {
    const all = Buffer.concat(chunks)
    const end = all.indexOf('\r\n\r\n')
    const fields = all.toString('latin1', 0, end).split('\r\n')
    const pairs = fields.map((line) => line.split(': ', 2) as [string, string])
    const { Status: status = '200', ...rest } = Object.fromEntries(pairs)
    response.writeHead(Number.parseInt(status, 10), rest).end(all.subarray(end + 4))
  })
}
