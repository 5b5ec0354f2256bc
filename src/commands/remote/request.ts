/** How does a script ask something of the workspace? By one request, whose answer goes to standard output as it comes. */
import { parseArgs } from 'node:util'
import { METHODS } from '../../http/methods.ts'
import { EXIT } from '../../process/exit-codes.ts'
import type { RemoteConnection } from '../../relay/client/connection.ts'
import type { RemoteAnswer, RemoteRequest } from '../../relay/client/http.ts'
import { RemoteError } from '../../relay/client/remote-error.ts'
import { CommandError, wrongUsage } from '../owner.ts'
import { failureOf } from './connect.ts'

/** A request of the command line. */
export interface PlannedRequest extends RemoteRequest {
  readonly code: string | undefined
  readonly isHeadShown: boolean
}

/** The first status of an answer that is a failure. */
const FIRST_FAILURE = 400

/** Reads the arguments behind `request`. @throws {CommandError} 64 */
export function requestIn(args: readonly string[]): PlannedRequest {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      data: { type: 'string' },
      header: { type: 'string', multiple: true, default: [] },
      code: { type: 'string' },
      include: { type: 'boolean', short: 'i', default: false },
    },
  })
  const [method, path] =
    positionals.length === 2
      ? positionals
      : [values.data === undefined ? 'GET' : 'POST', positionals[0]]
  if (path === undefined || positionals.length > 2)
    throw wrongUsage(
      'remote',
      'remote request takes a path, such as /health, and before it a method',
    )
  const known = METHODS.find((each) => each === method?.toUpperCase())
  if (known === undefined)
    throw wrongUsage('remote', `remote request takes one of ${METHODS.join(', ')}`)
  const { data, code, include } = values
  const headers = Object.fromEntries(values.header.map(headerIn))
  return { method: known, path, headers, body: data, code, isHeadShown: include }
}

function headerIn(text: string): readonly [name: string, value: string] {
  const colon = text.indexOf(':')
  if (colon < 1) throw wrongUsage('remote', "--header takes 'NAME: VALUE'")
  return [text.slice(0, colon), text.slice(colon + 1).trim()]
}

/**
 * Sends the request.
 * @param out takes the answer. Resolves when there is room for more
 * @throws {CommandError} 1 when the answer is a failure
 */
export async function printAnswer(
  remote: RemoteConnection,
  { code, isHeadShown, ...request }: PlannedRequest,
  out: (bytes: Uint8Array) => Promise<void>,
): Promise<void> {
  try {
    if (code !== undefined) await remote.showFactor(code)
    const answer = await remote.fetch(request)
    if (isHeadShown) await out(Buffer.from(headText(answer), 'latin1'))
    for await (const piece of answer.body) await out(piece)
    if (answer.status >= FIRST_FAILURE) throw refused(answer)
  } catch (error) {
    throw failureOf(error)
  }
}

function headText({ status, headers }: RemoteAnswer): string {
  const lines = [...headers].map(([name, value]) => `${name}: ${value}`)
  return `${[`HTTP/1.1 ${status}`, ...lines].join('\n')}\n\n`
}

function refused({ status, headers }: RemoteAnswer): CommandError {
  const why = headers.get('X-Gateway-Error')
  const advice =
    why === 'step-up-required' ? '; give a code of the authenticator app with --code' : ''
  return new CommandError(
    `the answer is ${status}${why === null ? '' : ` (${why})`}${advice}`,
    EXIT.failed,
    { cause: new RemoteError('refused', String(status)) },
  )
}
