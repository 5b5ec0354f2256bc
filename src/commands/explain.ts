/** `workspace-gateway explain`: why did a request get its response? The running gateway reports the decision of each stage. */
import { EXIT } from '../process/exit-codes.ts'
import { parseArgs } from 'node:util'
import { readSetting, type Environment } from '../config/load.ts'
import { SETTINGS } from '../config/settings.ts'
import type { Explanation } from '../observe/explanation.ts'
import { askAdmin, GatewayNotReachedError } from '../admin/ask.ts'
import type { Io } from './io.ts'

const REQUEST_ID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/

/**
 * Asks the running gateway about a recent request and prints the chain of decisions.
 * @returns 0; 1 when the gateway does not know the request; 64 for wrong usage; 69 when no gateway runs; 78 for an invalid
 * `GATEWAY_STATE_DIR`
 * @throws an error with a code `ERR_PARSE_ARGS_…` for unknown arguments
 */
export async function explain(args: readonly string[], env: Environment, io: Io): Promise<number> {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: { json: { type: 'boolean', default: false } },
  })
  const [text, ...more] = positionals
  const id = text?.trim().toLowerCase()
  if (id === undefined || more.length > 0 || !REQUEST_ID.test(id)) {
    io.err(
      'workspace-gateway: explain takes one request id, as in X-Request-Id, on an error page, or in the log\n',
    )
    return EXIT.usage
  }
  let stateDir: string
  try {
    stateDir = readSetting(SETTINGS.stateDir, env)
  } catch (error) {
    io.err(`workspace-gateway: ${error instanceof Error ? error.message : String(error)}\n`)
    return EXIT.config
  }
  try {
    const { status, body } = await askAdmin(stateDir, `/explain/${id}`)
    if (status === 200) {
      io.out(values.json ? body : chainText(JSON.parse(body) as Explanation))
      return EXIT.ok
    }
    io.err(`workspace-gateway: ${detailOf(body) ?? `the gateway answered ${status}`}\n`)
    return EXIT.failed
  } catch (error) {
    if (!(error instanceof GatewayNotReachedError)) throw error
    io.err(`workspace-gateway: ${error.message}\n`)
    return EXIT.unavailable
  }
}

/** The `detail` of a problem document, if it has one. */
function detailOf(body: string): string | undefined {
  try {
    const { detail } = JSON.parse(body) as { detail?: unknown }
    return typeof detail === 'string' ? detail : undefined
  } catch {
    return undefined
  }
}

/** The chain of decisions as text for a person. */
function chainText(explanation: Explanation): string {
  const { id, time, ms, upstreamMs, scheme, host, method, path, status, code, trace } = explanation
  const address = `${scheme === undefined ? '' : `${scheme}://`}${host ?? '?'}${path ?? ' (no legal path)'}`
  const waited = upstreamMs === undefined ? '' : `, of which the service took ${upstreamMs} ms`
  const width = Math.max(...explanation.chain.map(({ stage }) => stage.length))
  const lines = [
    `request  ${id}`,
    `asked    ${method === undefined ? 'something that is no HTTP request' : `${method} ${address}`}`,
    `answer   ${status === 0 ? 'none: the client left' : status}${code === undefined ? '' : ` ${code}`}`,
    `time     ${time}, ${ms} ms${waited}`,
    ...(trace === undefined ? [] : [`trace    ${trace}`]),
    '',
    ...explanation.chain.map(({ stage, result, detail }) =>
      `  ${stage.padEnd(width)}  ${result.padEnd('not reached'.length)}  ${detail}`.trimEnd(),
    ),
  ]
  return `${lines.map(printable).join('\n')}\n`
}

/** Escapes characters that could control a terminal, because a client can put any character into a request. */
function printable(text: string): string {
  return text.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, (character) => {
    const code = character.codePointAt(0) ?? 0
    return `\\u{${code.toString(16)}}`
  })
}
