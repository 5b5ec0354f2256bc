/** How do the tests use a terminal? With ttyd's protocol over a WebSocket. */
import { once } from 'node:events'
import type { IncomingMessage } from 'node:http'
import type { Test } from 'tap'
import { WebSocket, type ClientOptions } from 'ws'

export const CREDENTIAL = 'user:correct horse'
export const TOKEN = Buffer.from(CREDENTIAL).toString('base64')
export const BASIC = { authorization: `Basic ${TOKEN}` }

/** A terminal's WebSocket and the output received from it. */
export interface TerminalClient {
  socket: WebSocket
  /** The shell's output so far. */
  output: () => string
  /** Resolves with the output when it matches. */
  outputMatching: (pattern: RegExp) => Promise<string>
  type: (text: string) => void
  resize: (columns: number, rows: number) => void
  titles: string[]
}

/** A handshake whose response has not arrived yet. */
export function dial(
  t: Test,
  url: string,
  { path = '/terminal/ws', protocols = ['tty'], ...options }: DialOptions = {},
): WebSocket {
  const address = url.startsWith('unix:') ? `ws+${url}:${path}` : url.replace('http', 'ws') + path
  const socket = new WebSocket(address, protocols, { headers: BASIC, ...options })
  // Ignore errors here: a test sees them where it waits for an event, and a refused handshake ends with one at teardown.
  socket.on('error', () => {})
  t.teardown(() => socket.terminate())
  return socket
}

export interface DialOptions extends ClientOptions {
  path?: string
  protocols?: string[]
}

/** The status of the response that refuses a handshake. */
export async function refusal(socket: WebSocket): Promise<IncomingMessage> {
  const [, answer] = (await once(socket, 'unexpected-response')) as [unknown, IncomingMessage]
  answer.resume()
  return answer
}

/** Opens a shell of 80 columns and 24 rows. */
export async function openShell(
  t: Test,
  url: string,
  options?: DialOptions,
  credential = CREDENTIAL,
): Promise<TerminalClient> {
  const socket = dial(t, url, options)
  const titles: string[] = []
  let text = ''
  const closed = new Promise((resolve) => socket.once('close', resolve))
  socket.on('message', (data: Buffer) => {
    if (data[0] === 0x30) text += data.toString('latin1', 1)
    if (data[0] === 0x31) titles.push(data.toString('utf8', 1))
  })
  await once(socket, 'open')
  const token = Buffer.from(credential).toString('base64')
  socket.send(JSON.stringify({ AuthToken: token, columns: 80, rows: 24 }))
  return {
    socket,
    titles,
    output: () => text,
    async outputMatching(pattern) {
      while (!pattern.test(text)) {
        if (socket.readyState === WebSocket.CLOSED) throw new Error(`closed after ${text}`)
        await Promise.race([once(socket, 'message'), closed])
      }
      return text
    },
    type: (typed) => socket.send(Buffer.from(`0${typed}`)),
    resize: (columns, rows) => socket.send(`1${JSON.stringify({ columns, rows })}`),
  }
}
