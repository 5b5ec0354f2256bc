/** `workspace-gateway explain`: why was this request answered as it was? */
import { EXIT } from '../process/exit-codes.ts'
import { parseArgs } from 'node:util'
import { readSetting, type Environment } from '../config/load.ts'
import { SETTINGS } from '../config/settings.ts'
import type { Explanation } from '../observe/explanation.ts'
import { askAdmin, GatewayNotReachedError } from '../admin/ask.ts'
import type { Io } from './io.ts'

const REQUEST_ID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/

/**
 * Asks the running gateway about a recent request and prints the decision chain.
 * @returns 0; 1 when it does not know the request; 64 for wrong usage; 69 when no gateway runs; 78 for a bad
 * `GATEWAY_STATE_DIR`
 * @throws an error with a code `ERR_PARSE_ARGS_…` for arguments that it does not know
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

/** What a problem document says beyond its title. */
function detailOf(body: string): string | undefined {
  try {
    const { detail } = JSON.parse(body) as { detail?: unknown }
    return typeof detail === 'string' ? detail : undefined
  } catch {
    return undefined
  }
}

/** The decision chain for a person. */
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

/** Text that does nothing to a terminal: what a client chose may hold any character. */
function printable(text: string): string {
  return text.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, (character) => {
    const code = character.codePointAt(0) ?? 0
    return `\\u{${code.toString(16)}}`
  })
}
