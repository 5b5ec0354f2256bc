/** `workspace-gateway sessions`: who is signed in, and who shall no longer be? */
import { parseArgs } from 'node:util'
import type { SessionView } from '../admin/session-actions.ts'
import type { Environment } from '../config/load.ts'
import type { Io } from './io.ts'
import { doAction, exitCodeOf, NOT_SAVED, wrongUsage } from './owner.ts'
import { jsonText, minuteText, tableText } from './printable.ts'

/**
 * Lists or ends sessions.
 * @returns 0; 1 when there is no such session; 64 for wrong usage; 69 when the gateway cannot be asked or another process
 * writes the state; 78 for an invalid setting
 * @throws an error with a code `ERR_PARSE_ARGS_…` for unknown arguments
 */
export async function sessions(args: readonly string[], env: Environment, io: Io): Promise<number> {
  const [verb, ...rest] = args
  return exitCodeOf(io, async () => {
    if (verb === 'list') await list(rest, env, io)
    else if (verb === 'end') await end(rest, env, io)
    else throw wrongUsage('sessions', 'sessions takes "list" or "end"')
  })
}

async function list(args: readonly string[], env: Environment, io: Io): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: { json: { type: 'boolean', default: false } },
  })
  const { sessions: all } = (await doAction('list-sessions', env)) as { sessions: SessionView[] }
  if (values.json) io.out(jsonText(all))
  else if (all.length === 0) io.err('workspace-gateway: nobody is signed in\n')
  else io.out(tableText(COLUMNS, all.map(rowOf)))
}

const COLUMNS = 'ID,SUB,KIND,SINCE,UNTIL,LAST SEEN,FROM,SOCKETS,DEVICE'.split(',')

/** The longest `User-Agent` in the table, in characters. */
const DEVICE_LENGTH = 60

/** What every browser's `User-Agent` says, so that it tells none from the others. */
const SAME_EVERYWHERE =
  / ?(?:Mozilla\/5\.0|AppleWebKit\/[\d.]+|\(KHTML, like Gecko\)|Gecko\/\d+)(?= |$)/g

function rowOf(session: SessionView): string[] {
  const { id, sub, kind, createdAt, expiresAt, lastSeenAt, lastSeenFrom, sockets, device } = session
  const times = [createdAt, expiresAt, lastSeenAt].map(minuteText)
  return [
    ...[id, sub, kind, ...times, lastSeenFrom ?? '-', String(sockets)],
    device?.replace(SAME_EVERYWHERE, '').trim().slice(0, DEVICE_LENGTH) ?? '-',
  ]
}

/** An id of the list that begins with a hyphen, as one in 64 does. No option looks like it. */
const HYPHENATED_ID = /^-[A-Za-z0-9_-]{21}$/

async function end(args: readonly string[], env: Environment, io: Io): Promise<void> {
  const { values, positionals } = parseArgs({
    args: args.some((text) => HYPHENATED_ID.test(text)) ? ['--', ...args] : [...args],
    allowPositionals: true,
    options: { sub: { type: 'string' }, all: { type: 'boolean', default: false } },
  })
  const { sub, all } = values
  const [id, ...more] = positionals
  const given = [id !== undefined, sub !== undefined, all].filter(Boolean).length
  if (given !== 1 || more.length > 0 || id === '')
    throw wrongUsage('sessions', 'sessions end takes one of: an ID, --sub NAME, --all')
  const answer = await (id === undefined
    ? doAction('end-sessions', env, { body: sub === undefined ? { all: true } : { sub } })
    : doAction('end-session', env, { id }))
  const { ended, saved } = answer as { ended: number; saved: boolean }
  io.out(`${ended === 1 ? '1 session' : `${ended} sessions`} ended\n`)
  if (ended === 0 && sub !== undefined)
    io.err(
      `workspace-gateway: nobody is signed in as ${JSON.stringify(sub)}; "workspace-gateway sessions list" shows the names\n`,
    )
  if (!saved) io.err(`workspace-gateway: ${NOT_SAVED}\n`)
}
