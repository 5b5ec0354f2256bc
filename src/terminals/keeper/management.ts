/**
 * What can the gateway ask about terminals? `GET /_ready`, `GET /_terminals`, `DELETE /_terminals/<id>`,
 * `DELETE /_terminals?sid=…` and `PUT /_terminals?sid=…&ends=…`. All answers are JSON.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { VERSION } from '../../answers/version.ts'
import {
  PROTOCOL,
  READY_PATH,
  TERMINALS_PATH,
  type KeeperReady,
  type TerminalList,
} from '../protocol.ts'
import { splitTarget } from './plain-requests.ts'
import type { Terminals } from './terminals.ts'

/** What is told about the keeper. */
export interface Managed {
  readonly terminals: Terminals
  /** When the keeper was started, in milliseconds since 1970. */
  readonly startedAt: number
}

/** Answers a request for a path of the keeper's own. @returns false for any other path, which is ttyd's */
export function manage(
  managed: Managed,
  { method = '', url = '' }: IncomingMessage,
  response: ServerResponse,
): boolean {
  const [path, query] = splitTarget(url)
  const isOwn = [READY_PATH, TERMINALS_PATH].includes(path) || path.startsWith(`${TERMINALS_PATH}/`)
  if (!isOwn) return false
  const body = answerTo(managed, method === 'HEAD' ? 'GET' : method, path, query)
  if (body === undefined) send(response, 400, { problem: 'no such action' })
  else send(response, 200, body)
  return true
}

function answerTo(
  { terminals, startedAt }: Managed,
  method: string,
  path: string,
  query: string,
): KeeperReady | TerminalList | { ended: number } | { renewed: number } | undefined {
  const parameters = new URLSearchParams(query)
  const sid = parameters.get('sid') ?? ''
  const ends = Number(parameters.get('ends') ?? 'Infinity')
  const id = path.slice(TERMINALS_PATH.length + 1) // hexadecimal, so that it is never percent-encoded
  switch (`${method} ${id === '' ? path : TERMINALS_PATH}`) {
    case `GET ${READY_PATH}`:
      return { protocol: PROTOCOL, version: VERSION, startedAt, ...terminals.counts() }
    case `GET ${TERMINALS_PATH}`:
      return id === '' ? { terminals: terminals.list() } : undefined
    case `DELETE ${TERMINALS_PATH}`:
      if (id !== '') return { ended: terminals.end(id) ? 1 : 0 }
      return sid === '' ? undefined : { ended: terminals.endSession(sid) }
    case `PUT ${TERMINALS_PATH}`:
      if (id !== '' || sid === '' || !(ends > 0)) return undefined
      return { renewed: terminals.renewSession(sid, ends) }
    default:
      return undefined
  }
}

function send(response: ServerResponse, status: number, body: object): void {
  const text = JSON.stringify(body)
  response
    .writeHead(status, {
      'Content-Type': 'application/json',
      'Content-Length': Buffer.byteLength(text),
      'Cache-Control': 'no-store',
    })
    .end(text)
}
