/** `workspace-gateway explain`: why did a request get its response? The running gateway reports the decision of each stage. */
import { EXIT } from '../process/exit-codes.ts'
import { parseArgs } from 'node:util'
import type { Environment } from '../config/load.ts'
import { SETTINGS } from '../config/settings.ts'
import type { Explanation } from '../observe/explanation.ts'
import type { Io } from './io.ts'
import { askForJson, exitCodeOf, settingOf } from './owner.ts'
import { printable } from '../answers/printable.ts'
import { jsonText } from './printable.ts'

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
  return exitCodeOf(io, async () => {
    const stateDir = settingOf(SETTINGS.stateDir, env)
    const explanation = await askForJson(stateDir, `/explain/${id}`)
    io.out(values.json ? jsonText(explanation, 0) : chainText(explanation as Explanation))
  })
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
