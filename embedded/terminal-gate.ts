/**
 * How is the password kept off ttyd's command line, where every user of the machine can read it? ttyd runs without a password
 * on a Unix socket that only this user can open, and this gate in front of it checks the password as ttyd would.
 */
import { once } from 'node:events'
import { request as httpRequest, type IncomingMessage } from 'node:http'
import { connect, type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { closeFrame } from '../src/http/frames.ts'
import { listen, type Running } from './listener.ts'
import { buildTerminalServer } from './terminal-server.ts'

/** The time limit for a browser's first message, in milliseconds. ttyd's page sends it at once. */
const FIRST_MESSAGE_MS = 10_000
/** The largest first message, in bytes. ttyd's page sends much less: a token and the size of the window. */
const FIRST_MESSAGE_BYTES = 4096
const POLICY_VIOLATION = 1008

/**
 * Starts the gate.
 *
 * @param socketPath the Unix socket on which the gate listens
 * @param ttyd the Unix socket of a ttyd without a password, with the base path /terminal
 */
export async function startTerminalGate(
  credential: string,
  socketPath: string,
  ttyd: string,
): Promise<Running> {
  const tunnels = new Set<Duplex>()
  const { app, isToken } = buildTerminalServer(credential, {
    page: (request, reply) => sendPage(request, reply, ttyd),
    upgrade(request, client, head) {
      tunnels.add(client)
      client.once('close', () => tunnels.delete(client))
      // The cast is safe: Node passes the TCP or Unix connection itself.
      tunnel(request, client as Socket, head, { ttyd, isToken: (token) => isToken(token) })
    },
  })
  app.addHook('preClose', function endTunnels(done) {
    for (const client of tunnels) client.destroy()
    done()
  })
  return await listen(app, socketPath)
}

/** Sends ttyd's page, which contains its scripts and styles. */
async function sendPage(request: FastifyRequest, reply: FastifyReply, ttyd: string) {
  const encoding = request.headers['accept-encoding']
  const outgoing = httpRequest({
    socketPath: ttyd,
    path: '/terminal/',
    agent: false,
    headers: encoding === undefined ? {} : { 'accept-encoding': encoding },
  })
  // An error before the response rejects `once` below; a later error is emitted by the response.
  outgoing.on('error', () => {})
  outgoing.end()
  let answer: IncomingMessage
  try {
    ;[answer] = (await once(outgoing, 'response')) as [IncomingMessage]
  } catch {
    return await reply.code(502).send()
  }
  for (const name of ['content-type', 'content-length', 'content-encoding'])
    if (answer.headers[name] !== undefined) reply.header(name, answer.headers[name])
  return await reply.code(answer.statusCode ?? 502).send(answer)
}

interface Shell {
  ttyd: string
  isToken: (token: unknown) => boolean
}

/** Connects a browser's WebSocket to ttyd. No byte of the browser's messages reaches ttyd before the right token was sent. */
function tunnel(
  request: IncomingMessage,
  client: Socket,
  head: Buffer,
  { ttyd, isToken }: Shell,
): void {
  const service = connect(ttyd)
  const impatience = setTimeout(() => client.destroy(), FIRST_MESSAGE_MS)
  service.on('error', () => service.destroy())
  client.on('error', () => client.destroy())
  // destroySoon, so that the output which ttyd has already sent still reaches the browser.
  service.once('close', () => client.destroySoon())
  client.once('close', () => {
    clearTimeout(impatience)
    service.destroy()
  })
  service.write(handshake(request), 'latin1')
  service.pipe(client)

  let received = head
  const read = (chunk: Buffer) => {
    received = Buffer.concat([received, chunk])
    const message = firstMessage(received)
    if (message === 'incomplete') return
    clearTimeout(impatience)
    client.off('data', read)
    if (message !== 'malformed' && isToken(tokenIn(message))) {
      service.write(received)
      client.pipe(service)
      return
    }
    service.unpipe(client)
    client.write(closeFrame(POLICY_VIOLATION, 'not authenticated'))
    service.destroy()
  }
  client.on('data', read)
  read(Buffer.alloc(0))
}

/**
 * The browser's handshake without its password, which ttyd does not have, and without compression, because the gate must read
 * the first message.
 */
function handshake({ method, url, rawHeaders }: IncomingMessage): string {
  let lines = `${method} ${url} HTTP/1.1\r\n`
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i] ?? ''
    if (/^(?:authorization|sec-websocket-extensions)$/i.test(name)) continue
    lines += `${name}: ${rawHeaders[i + 1]}\r\n`
  }
  return `${lines}\r\n`
}

/** Returns the payload of a client's first frame if the frame is a whole message (RFC 6455 section 5.2). */
function firstMessage(bytes: Buffer): Buffer | 'incomplete' | 'malformed' {
  if (bytes.length < 2) return 'incomplete'
  const [first = 0, second = 0] = bytes
  // Accept only a final frame without extension bits, text or binary, masked, and with a length of at most 16 bits.
  const isMessage = first === 0x81 || first === 0x82
  if (!isMessage || (second & 0x80) === 0 || second === 0xff) return 'malformed'
  const maskAt = second === 0xfe ? 4 : 2
  if (bytes.length < maskAt) return 'incomplete'
  const length = second === 0xfe ? bytes.readUInt16BE(2) : second & 0x7f
  if (length > FIRST_MESSAGE_BYTES) return 'malformed'
  const mask = bytes.subarray(maskAt, maskAt + 4)
  const payload = bytes.subarray(maskAt + 4, maskAt + 4 + length)
  if (payload.length < length || mask.length < 4) return 'incomplete'
  return payload.map((byte, i) => byte ^ (mask[i & 3] ?? 0)) as Buffer
}

function tokenIn(message: Buffer): unknown {
  try {
    const value = JSON.parse(message.toString()) as { AuthToken?: unknown } | null
    return value?.AuthToken
  } catch {
    return undefined
  }
}
