/** `workspace-gateway vault add|list|show|rotate|grant|revoke|resume|remove`: the entries, changed by their owner. */
import { parseArgs } from 'node:util'
import type { EntryView } from '../../vault/protocol.ts'
import { parseDuration } from '../duration.ts'
import { wrongUsage } from '../owner.ts'
import { jsonText, minuteText, tableText } from '../printable.ts'
import { printable } from '../../answers/printable.ts'
import { askOwner, ownerSocketOf } from './ask-owner.ts'
import { listOf, onlyWord, OWNER_OPTIONS, readCredential, type VaultContext } from './context.ts'

const JSON_OPTION = { json: { type: 'boolean', default: false } } as const

/** What a command with a credential takes. Whoever typed the credential as an argument reads here where it belongs. */
const NAME_ALONE = 'the name of a SERVICE, and the credential from standard input (… < FILE)'

/** Adds an entry. What a preset of its name says need not be given. */
export async function add({ args, env, io, input }: VaultContext): Promise<void> {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      ...OWNER_OPTIONS,
      origin: { type: 'string' },
      kind: { type: 'string' },
      remote: { type: 'string' },
      header: { type: 'string' },
      basic: { type: 'string' },
      methods: { type: 'string' },
      paths: { type: 'string' },
      'forward-headers': { type: 'string' },
      grant: { type: 'string', multiple: true },
      note: { type: 'string' },
      'allow-private': { type: 'boolean' },
      upgrade: { type: 'boolean' },
      decode: { type: 'boolean' },
    },
  })
  const service = onlyWord(positionals, 'add', NAME_ALONE)
  if (values.header !== undefined && values.basic !== undefined)
    throw wrongUsage('vault', 'vault add takes --header or --basic, and not both')
  const socket = ownerSocketOf(values.socket, env)
  const value = await readCredential(input, 'add')
  const body = {
    ...{ service, value, origin: values.origin, note: values.note, remote: values.remote },
    ...slotOf(values),
    methods: listOf(values.methods)?.map((one) => one.toUpperCase()),
    paths: listOf(values.paths),
    headers: listOf(values['forward-headers']),
    grants: values.grant?.flatMap((names) => listOf(names) ?? []),
    allow_private: values['allow-private'],
    upgrade: values.upgrade,
    decode: values.decode,
  }
  const entry = (await askOwner(socket, { method: 'POST', path: '/v1/entries', body })) as EntryView
  io.out(`${entry.service} added\n`)
  if (entry.grants.length === 0)
    io.err(
      `workspace-gateway: no agent may use it yet; allow one with: workspace-gateway vault grant ${entry.service} AGENT\n`,
    )
}

function slotOf({
  kind,
  header,
  basic,
}: Partial<Record<'kind' | 'header' | 'basic', string>>): object {
  if (basic !== undefined) return { kind: kind ?? 'basic', slot: `Authorization: ${basic}:{}` }
  return { kind: kind ?? (header === undefined ? undefined : 'header'), slot: header }
}

const COLUMNS = 'SERVICE,ORIGIN,METHODS,PATHS,GRANTS,VERSION,SINCE,STATE'.split(',')

/** Lists the entries. */
export async function list({ args, env, io }: VaultContext): Promise<void> {
  const { values } = parseArgs({ args: [...args], options: { ...OWNER_OPTIONS, ...JSON_OPTION } })
  const socket = ownerSocketOf(values.socket, env)
  const { entries } = (await askOwner(socket, { path: '/v1/entries' })) as { entries: EntryView[] }
  if (values.json) io.out(jsonText(entries))
  else if (entries.length === 0)
    io.err(
      'workspace-gateway: the vault is empty; "workspace-gateway help vault" says how to add\n',
    )
  else io.out(tableText(COLUMNS, entries.map(rowOf)))
}

function rowOf(entry: EntryView) {
  const { service, remote, methods, paths, grants, versions, suspended } = entry
  const newest = versions.at(-1)
  const origin = remote === null ? entry.origin : `${entry.origin} (${remote})`
  return [
    ...[service, origin, methods.join(','), paths.join(','), grants.join(',') || '-'],
    ...[String(newest?.version ?? '-'), minuteText(newest?.created_at ?? null)],
    suspended ? 'suspended' : 'in use',
  ]
}

/** Shows one entry, without its credential. */
export async function show({ args, env, io }: VaultContext): Promise<void> {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: { ...OWNER_OPTIONS, ...JSON_OPTION },
  })
  const service = onlyWord(positionals, 'show', 'the name of a SERVICE')
  const socket = ownerSocketOf(values.socket, env)
  const entry = (await askOwner(socket, { path: pathOf(service) })) as EntryView
  io.out(values.json ? jsonText(entry) : textOf(entry))
}

function textOf(entry: EntryView): string {
  const flags = [
    entry.allow_private ? 'private addresses' : '',
    entry.upgrade ? 'WebSockets' : '',
    entry.decode ? 'decodes answers' : '',
  ]
  const rows: ReadonlyArray<readonly [name: string, value: string]> = [
    ['service', entry.service],
    ['origin', entry.origin],
    ['kind', entry.kind],
    ...(entry.remote === null ? [] : [['remote', entry.remote] as const]),
    ['slot', entry.slot],
    ['methods', entry.methods.join(' ')],
    ['paths', entry.paths.join(' ')],
    ['headers', entry.headers.join(' ') || '-'],
    ['grants', entry.grants.join(' ') || '-'],
    ['allows', flags.filter((flag) => flag !== '').join(', ') || '-'],
    ['state', entry.suspended ? 'suspended' : 'in use'],
    ['note', entry.note || '-'],
    ...entry.versions.map(
      ({ version, created_at: since, kept_until: until }) =>
        [
          `version ${version}`,
          `${minuteText(since)}${until === null ? ', in use' : `, kept until ${minuteText(until)}`}`,
        ] as const,
    ),
  ]
  const width = Math.max(...rows.map(([name]) => name.length))
  return `${rows.map(([name, value]) => printable(`${name.padEnd(width)}  ${value}`)).join('\n')}\n`
}

/** Gives an entry a new credential, or the one before again. */
export async function rotate({ args, env, io, input }: VaultContext): Promise<void> {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      ...OWNER_OPTIONS,
      overlap: { type: 'string' },
      back: { type: 'boolean', default: false },
    },
  })
  const service = onlyWord(positionals, 'rotate', NAME_ALONE)
  if (values.back && values.overlap !== undefined)
    throw wrongUsage('vault', 'vault rotate takes --back or --overlap, and not both')
  const overlap = values.overlap === undefined ? 0 : parseDuration(values.overlap)
  if (overlap === undefined)
    throw wrongUsage('vault', `--overlap "${values.overlap}" is not a duration such as 10m or 1h`)
  const socket = ownerSocketOf(values.socket, env)
  const body = values.back
    ? { back: true }
    : { value: await readCredential(input, 'rotate'), overlap }
  const path = pathOf(service, 'rotate')
  const entry = (await askOwner(socket, { method: 'POST', path, body })) as EntryView
  io.out(`${entry.service} uses version ${entry.versions.at(-1)?.version ?? '?'} now\n`)
}

/** Lets agents use an entry. */
export async function grant(context: VaultContext): Promise<void> {
  const { service, agents } = await changeGrants(context, 'grant')
  context.io.out(`${agents.join(', ')} may use ${service} now\n`)
}

/** Takes grants away, which ends the requests that run under them. */
export async function revoke(context: VaultContext): Promise<void> {
  const { service, agents } = await changeGrants(context, 'revoke')
  context.io.out(`${agents.join(', ')} may no longer use ${service}; what was open is cut\n`)
}

async function changeGrants(
  { args, env }: VaultContext,
  verb: 'grant' | 'revoke',
): Promise<{ service: string; agents: readonly string[] }> {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: OWNER_OPTIONS,
  })
  const [service = '', ...agents] = positionals
  if (service === '' || agents.length === 0)
    throw wrongUsage('vault', `vault ${verb} takes the name of a SERVICE, then an AGENT or several`)
  const socket = ownerSocketOf(values.socket, env)
  await askOwner(socket, { method: 'POST', path: pathOf(service, verb), body: { agents } })
  return { service, agents }
}

/** Ends the suspension of an entry. */
export async function resume(context: VaultContext): Promise<void> {
  context.io.out(`${await changeOne(context, 'resume')} is in use again\n`)
}

/** Removes an entry with its credential. */
export async function remove(context: VaultContext): Promise<void> {
  context.io.out(`${await changeOne(context, 'remove')} removed; what was open is cut\n`)
}

async function changeOne({ args, env }: VaultContext, verb: 'resume' | 'remove'): Promise<string> {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: OWNER_OPTIONS,
  })
  const service = onlyWord(positionals, verb, 'the name of a SERVICE')
  const socket = ownerSocketOf(values.socket, env)
  await askOwner(socket, { method: 'POST', path: pathOf(service, verb) })
  return service
}

function pathOf(service: string, verb?: string): string {
  const path = `/v1/entries/${encodeURIComponent(service)}`
  return verb === undefined ? path : `${path}/${verb}`
}
