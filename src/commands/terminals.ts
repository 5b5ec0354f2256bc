/** `workspace-gateway terminals`: keep the shells of terminals, list those that are kept, or end one. */
import { parseArgs } from 'node:util'
import type { KeeperKind, TerminalsAnswer, TerminalView } from '../admin/terminal-actions.ts'
import type { Environment } from '../config/load.ts'
import { loadTerminalsConfig } from '../config/terminals-settings.ts'
import { runTerminals } from '../process/run-terminals.ts'
import type { Io } from './io.ts'
import { askGateway, exitCodeOf, wrongUsage } from './owner.ts'
import { jsonText, minuteText, tableText } from './printable.ts'

/**
 * Runs the keeper of terminals, or asks the running gateway for the terminals or to end one.
 * @returns undefined while the keeper runs; else 0; 1 when there is no such terminal or the keeper does not answer; 64 for wrong
 * usage; 69 when the gateway cannot be asked; 78 for an invalid setting
 * @throws an error with a code `ERR_PARSE_ARGS_…` for unknown arguments; {ConfigError} and errors of listening from the keeper
 */
export async function terminals(
  args: readonly string[],
  env: Environment,
  io: Io,
): Promise<number | undefined> {
  const [verb, ...rest] = args
  if (verb === undefined) {
    await runTerminals(loadTerminalsConfig(env))
    return undefined
  }
  return exitCodeOf(io, async () => {
    if (verb === 'list') await list(rest, env, io)
    else if (verb === 'end') await end(rest, env, io)
    else throw wrongUsage('terminals', 'terminals takes "list" or "end", or nothing to keep them')
  })
}

async function list(args: readonly string[], env: Environment, io: Io): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: { json: { type: 'boolean', default: false } },
  })
  const { keeper, terminals: all } = (await askGateway('list-terminals', env)) as TerminalsAnswer
  if (values.json) io.out(jsonText(all))
  else if (all.length > 0) io.out(tableText(COLUMNS, all.map(rowOf)))
  if (keeper !== 'running' || (all.length === 0 && !values.json))
    io.err(`workspace-gateway: ${WHY_NONE[keeper]}\n`)
}

/** Why there is nothing in the list. */
const WHY_NONE = {
  running: 'no terminal is open',
  none: 'no keeper of terminals runs: each shell ends with its connection',
  'other-version':
    'the keeper of terminals is of a release that this gateway does not understand; "workspace-gateway doctor" says more',
} as const satisfies Record<KeeperKind, string>

const COLUMNS = 'ID,STATE,SUB,STARTED,SINCE,WAITS UNTIL,SIZE,SESSION,TITLE'.split(',')

/** The longest title in the table, in characters. */
const TITLE_LENGTH = 60

function rowOf(terminal: TerminalView): string[] {
  const { id, state, sub, startedAt, since, waitsUntil, columns, rows, session, title } = terminal
  const times = [startedAt, since, waitsUntil].map(minuteText)
  return [
    ...[id, state, sub ?? '-', ...times, `${columns}x${rows}`, session ?? '-'],
    title.slice(0, TITLE_LENGTH),
  ]
}

async function end(args: readonly string[], env: Environment, io: Io): Promise<void> {
  const { positionals } = parseArgs({ args: [...args], allowPositionals: true, options: {} })
  const [id = '', ...more] = positionals
  if (id === '' || more.length > 0) throw wrongUsage('terminals', 'terminals end takes an ID')
  await askGateway('end-terminal', env, { id })
  io.out('1 terminal ended\n')
}
