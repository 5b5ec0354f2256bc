/** What happens to a plain request for the terminal? It goes to ttyd as it is; only a page without a tab is sent to one first. */
import { randomBytes } from 'node:crypto'
import { request, type IncomingMessage, type ServerResponse } from 'node:http'
import { listenerOf, type ServiceAddress } from '../../config/values.ts'
import { TAB_PARAMETER } from '../protocol.ts'

/** How long ttyd may take to begin an answer, in milliseconds. It answers from memory. */
const ANSWER_MS = 10_000

/** The page that opens a terminal. */
const PAGE_PATH = '/terminal/'

/**
 * The address with a tab to which a navigation is sent; undefined for any other request. ttyd's page keeps its query for its
 * WebSocket, so the tab survives a reload, and a connection that was cut.
 */
export function addressWithTab({
  method,
  url = '',
  headers,
}: Pick<IncomingMessage, 'method' | 'url' | 'headers'>): string | undefined {
  const [path, query] = splitTarget(url)
  if (method !== 'GET' || path !== PAGE_PATH || !isNavigation(headers)) return undefined
  if (new URLSearchParams(query).has(TAB_PARAMETER)) return undefined
  const tab = `${TAB_PARAMETER}=${randomBytes(16).toString('base64url')}`
  return `${PAGE_PATH}?${query === '' ? '' : `${query}&`}${tab}`
}

/** The tab that a target names, whatever it is; undefined without one. */
export function tabOf(target: string): string | undefined {
  return new URLSearchParams(splitTarget(target)[1]).get(TAB_PARAMETER) ?? undefined
}

/** The path and the query of a target, as they are; the query is empty without one. */
export function splitTarget(target: string): readonly [path: string, query: string] {
  const at = target.indexOf('?')
  return at < 0 ? [target, ''] : [target.slice(0, at), target.slice(at + 1)]
}

/** Whether a browser opens a page, and not a script or a program. Browsers without fetch metadata say what they accept. */
function isNavigation(headers: IncomingMessage['headers']): boolean {
  const mode = headers['sec-fetch-mode']
  if (mode !== undefined) return mode === 'navigate'
  return /\btext\/html\b/.test(headers.accept ?? '')
}

/**
 * Passes a request to ttyd, and its answer back. Without an answer the connection ends, as if ttyd itself were not there: the
 * gateway says it to the client.
 */
export function passToTtyd(
  address: ServiceAddress,
  incoming: IncomingMessage,
  response: ServerResponse,
): void {
  const listener = listenerOf(address)
  const outgoing = request({
    ...('path' in listener ? { socketPath: listener.path } : listener),
    method: incoming.method,
    path: incoming.url,
    headers: incoming.rawHeaders,
    setHost: false,
    agent: false,
    timeout: ANSWER_MS,
  })
  const giveUp = () => response.socket?.destroy()
  outgoing.on('timeout', () => outgoing.destroy())
  outgoing.on('response', (answer) => {
    outgoing.setTimeout(0) // a client may read slowly; one that has gone ends both connections
    answer.on('error', giveUp)
    try {
      response.writeHead(answer.statusCode ?? 502, answer.statusMessage, answer.rawHeaders)
      answer.pipe(response)
    } catch {
      giveUp() // no status or field that HTTP has
    }
  })
  outgoing.on('upgrade', (_answer, socket) => socket.destroy()) // a 101 that nobody asked for
  outgoing.on('error', giveUp)
  outgoing.on('close', () => {
    if (!response.headersSent) giveUp()
  })
  response.on('close', () => outgoing.destroy())
  incoming.on('error', () => outgoing.destroy())
  incoming.pipe(outgoing)
}
