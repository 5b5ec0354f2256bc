/** `workspace-gateway devices`: which devices are paired, and which of them may come in? */
import { parseArgs } from 'node:util'
import { printable } from '../answers/printable.ts'
import type { Environment } from '../config/load.ts'
import { EXIT } from '../process/exit-codes.ts'
import { OWNER_PATHS, type DeviceView } from '../relay/link/owner-protocol.ts'
import { deviceIn, devicesIn, revokedIn } from '../relay/owner-answers.ts'
import { askLink } from './ask-link.ts'
import type { Io } from './io.ts'
import { CommandError, exitCodeOf, wrongUsage } from './owner.ts'
import { jsonText, minuteText, tableText } from './printable.ts'

/**
 * Lists, approves, renames or revokes devices.
 * @returns 0; 1 when the link refused; 64 for wrong usage; 69 when it cannot be asked; 78 for an invalid setting
 * @throws an error with a code `ERR_PARSE_ARGS_…` for unknown arguments
 */
export async function devices(args: readonly string[], env: Environment, io: Io): Promise<number> {
  const [verb, ...rest] = args
  return exitCodeOf(io, async () => {
    if (verb === 'list') await list(rest, env, io)
    else if (verb === 'approve') await approve(rest, env, io)
    else if (verb === 'rename') await rename(rest, env, io)
    else if (verb === 'revoke') await revoke(rest, env, io)
    else throw usage('devices takes "list", "approve", "rename" or "revoke"')
  })
}

const usage = (message: string) => wrongUsage('devices', message)

async function list(args: string[], env: Environment, io: Io): Promise<void> {
  const { values } = parseArgs({ args, options: { json: { type: 'boolean', default: false } } })
  const all = await allDevices(env)
  if (values.json) io.out(jsonText(all))
  else if (all.length === 0) io.err('workspace-gateway: no device is paired\n')
  else io.out(tableText(COLUMNS, all.map(rowOf)))
}

function allDevices(env: Environment): Promise<readonly DeviceView[]> {
  return askLink(env, { path: OWNER_PATHS.devices, read: devicesIn })
}

const COLUMNS = 'ID,STATE,NAME,KIND,SUB,CODE,PAIRED,LAST SEEN'.split(',')

function rowOf(device: DeviceView): string[] {
  const { id, state, name, kind, sub, code, pairedAt, lastSeenAt, isConnected } = device
  const seen = isConnected ? 'connected' : minuteText(lastSeenAt)
  return [id, state, name, kind, sub ?? '-', code ?? '-', minuteText(pairedAt), seen]
}

async function approve([id = '', ...more]: string[], env: Environment, io: Io): Promise<void> {
  const { values } = parseArgs({ args: more, options: { sub: { type: 'string' } } })
  const device = await deviceOf(id, env, 'approve takes an ID, and then --sub NAME')
  // Without --sub: the person who made its pairing link.
  const body = { sub: values.sub ?? device.sub ?? '' }
  const path = pathOf(device, '/approve')
  const approved = await askLink(env, { method: 'POST', path, body, read: deviceIn })
  io.out(`${printable(approved.name)} approved, as ${printable(approved.sub ?? '-')}\n`)
}

async function rename(args: readonly string[], env: Environment, io: Io): Promise<void> {
  const [id = '', name, ...more] = args
  if (name === undefined || more.length > 0) throw usage('devices rename takes an ID and a NAME')
  const device = await deviceOf(id, env, 'rename takes an ID and a NAME')
  const path = pathOf(device, '/rename')
  const renamed = await askLink(env, { method: 'POST', path, body: { name }, read: deviceIn })
  io.out(`${printable(device.name)} is now ${printable(renamed.name)}\n`)
}

async function revoke([id = '', ...more]: string[], env: Environment, io: Io): Promise<void> {
  if (more.length > 0) throw usage('devices revoke takes an ID')
  const device = await deviceOf(id, env, 'revoke takes an ID')
  await askLink(env, { method: 'DELETE', path: pathOf(device, ''), read: revokedIn })
  io.out(`${printable(device.name)} revoked\n`)
}

function pathOf({ id }: DeviceView, verb: string): string {
  return `${OWNER_PATHS.devices}/${id}${verb}`
}

/**
 * The one device whose id begins so. An id may begin with a hyphen, and is taken as it is: it always stands first.
 * @throws {CommandError} when there is none, or more than one
 */
async function deviceOf(id: string, env: Environment, what: string): Promise<DeviceView> {
  if (id === '') throw usage(`devices ${what}`)
  const [found, ...others] = (await allDevices(env)).filter((device) => device.id.startsWith(id))
  if (found === undefined)
    throw new CommandError(
      `no device has an id that begins with ${id}; "workspace-gateway devices list" shows them`,
      EXIT.failed,
    )
  if (others.length > 0)
    throw new CommandError(
      `${id} is the beginning of more than one id; give more of it`,
      EXIT.failed,
    )
  return found
}
