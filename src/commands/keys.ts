/** `workspace-gateway keys`: which keys verify tokens, and who still uses the old one? */
import { parseArgs } from 'node:util'
import type { Environment } from '../config/load.ts'
import type { KeyUse } from '../identity/key-report.ts'
import type { Io } from './io.ts'
import { askGateway, exitCodeOf } from './owner.ts'
import { jsonText, minuteText, tableText } from './printable.ts'

/**
 * Lists the keys of the running gateway, without their secrets.
 * @returns 0; 1 when the gateway refuses; 69 when no gateway runs; 78 for an invalid `GATEWAY_STATE_DIR`
 * @throws an error with a code `ERR_PARSE_ARGS_…` for unknown arguments
 */
export async function keys(args: readonly string[], env: Environment, io: Io): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: { json: { type: 'boolean', default: false } },
  })
  return exitCodeOf(io, async () => {
    const { keys: all } = (await askGateway('list-keys', env)) as { keys: KeyUse[] }
    io.out(values.json ? jsonText(all) : tableText(COLUMNS, all.map(rowOf)))
  })
}

const COLUMNS = 'KEY,ROLE,LAST HOUR,LAST DAY,LAST USED,SESSIONS,COUNTED SINCE'.split(',')

function rowOf({ kid, role, lastHour, lastDay, lastUsedAt, ...key }: KeyUse): string[] {
  const uses = [lastHour, lastDay].map(String)
  return [
    ...[kid, role, ...uses, minuteText(lastUsedAt)],
    ...[String(key.openSessions), minuteText(key.countedSince)],
  ]
}
