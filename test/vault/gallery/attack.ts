/**
 * How does an attack of the gallery run? By one function, which knows from the ledger whether it must be held or succeed. The files run
 * against one vault process each, and every attack there has an entry of its own, because a repeated credential suspends its entry.
 */
import { basename } from 'node:path'
import t, { type Test } from 'tap'
import type { AuditRow } from '../../../src/vault/audit/audit-line.ts'
import { attacksOf, verdict } from './ledger.ts'
import { everythingIn, startRunningVault, type RunningVault } from '../../helpers/running-vault.ts'
import { leaseAt } from '../../helpers/vault-doors.ts'
import { CREDENTIAL } from '../../helpers/vault-entry.ts'
import { eventually } from '../../helpers/waiting.ts'
import { dechunk, send, upgrade, type RawAnswer, type Upgraded } from '../../helpers/wire.ts'

/** An attack. @returns whether it succeeded: whether the attacker has got what he wanted */
type Attack<Place> = (t: Test, place: Place) => Promise<boolean>

/** The attacks of a file by their names in the ledger. */
type Attacks<Place> = Readonly<Record<string, Attack<Place>>>

/** A vault process, as its attackers see it: those of the agent coder, unless an attack says otherwise. */
export interface VaultPlace {
  readonly vault: RunningVault
  /** The port of leases. */
  readonly port: number
  /** Adds an entry with a name of its own, which leads to a service and is granted to coder, and gets a lease. */
  readonly aim: (origin: string, entry?: object) => Promise<Aim>
}

/** An entry that is attacked. */
interface Aim {
  readonly service: string
  /** The lease of coder, and the header that presents it. */
  readonly token: string
  readonly lease: string
  /** Sends a request with the lease to the port. The path is the service's. */
  readonly send: (line: string, fields?: readonly string[], body?: string) => Promise<RawAnswer>
  /** The same to the port, and then to the agent's socket. */
  readonly sendToBoth: (
    line: string,
    fields?: readonly string[],
    body?: string,
  ) => Promise<readonly RawAnswer[]>
  readonly upgrade: (fields?: readonly string[], early?: Buffer) => Promise<Upgraded>
  /** The rows of the entry in the audit log. */
  readonly rows: () => readonly AuditRow[]
  /** Those of uses, and of repeated credentials. */
  readonly uses: () => readonly AuditRow[]
  /** Waits until so many uses have ended, and returns how. */
  readonly endings: (count?: number) => Promise<readonly string[]>
}

/** Runs the attacks of a file in this process. @param url of the file */
export function runAttacks(url: string, attacks: Attacks<undefined>): void {
  runEach(url, attacks, undefined)
}

/** Runs the attacks of a file against one vault process with these settings. @param url of the file */
export async function runAgainstVault(
  url: string,
  attacks: Attacks<VaultPlace>,
  settings: Record<string, string> = {},
): Promise<void> {
  const vault = await startRunningVault(t, { VAULT_PORT: '0', ...settings })
  const { json } = await vault.command('/v1/status')
  const port = Number(json['port'])
  let entries = 0
  const aim = async (origin: string, entry: object = {}) => {
    const service = `aim-${++entries}`
    await vault.add(origin, { service, slot: 'Authorization: Bearer {}', ...entry })
    return aimAt(vault, port, service, await leaseAt(vault.coder, { service }))
  }
  runEach(url, attacks, { vault, port, aim })
  t.test('the vault has written no credential anywhere', async (t) => {
    const written = `${vault.program.stdout()}${vault.program.stderr()}${everythingIn(vault.env['VAULT_STATE_DIR'] ?? '')}`
    t.match(written, 'keeping the vault')
    t.notOk(isStolen(written))
  })
}

function runEach<Place>(url: string, attacks: Attacks<Place>, place: Place): void {
  const file = basename(url)
  const rows = attacksOf(file)
  t.same(Object.keys(attacks).toSorted(), Object.keys(rows).toSorted(), `the ledger has ${file}`)
  for (const [name, expected] of Object.entries(rows))
    t.test(`${name}: ${expected === 'held' ? 'held' : 'a known hole'}`, async (t) => {
      const attack = attacks[name]
      if (attack === undefined) return
      const problem = verdict(expected, await attack(t, place))
      if (problem === undefined) t.pass('as the ledger expects')
      else t.fail(problem)
    })
}

function aimAt(vault: RunningVault, port: number, service: string, token: string): Aim {
  const lease = `Authorization: Bearer ${token}`
  const below = (line: string) => line.replace(' ', ` /s/${service}`)
  const rows = () => vault.rows().filter((row) => row.service === service)
  const uses = () => rows().filter(({ op }) => op === 'use' || op === 'reflected')
  const ended = () => rows().flatMap(({ op, reason }) => (op === 'use' && reason ? [reason] : []))
  const sendTo =
    (door: string | number) =>
    (line: string, fields: readonly string[] = [], body = '') =>
      send(door, below(line), withHost([lease, ...fields]), body)
  return {
    ...{ service, token, lease, rows, uses },
    send: sendTo(port),
    sendToBoth: async (...request) => [
      await sendTo(port)(...request),
      await sendTo(vault.coder)(...request),
    ],
    upgrade: (fields = [], early = Buffer.alloc(0)) =>
      upgrade(port, `/s/${service}/ws`, withHost([lease, ...fields]), early),
    endings: async (count = 1) => {
      await eventually(() => ended().length >= count, `${service}: ${count} uses have ended`)
      return ended()
    },
  }
}

function withHost(fields: readonly string[]): readonly string[] {
  const has = fields.some((line) => line.toLowerCase().startsWith('host:'))
  return has ? fields : ['Host: 127.0.0.1', ...fields]
}

/** With so many characters of it in a row, a credential is as good as stolen. */
const PIECE = 8

/** Whether a text contains a piece of the credential. Whoever attacks decodes it first. */
export function isStolen(text: string | Buffer, credential = CREDENTIAL): boolean {
  const bytes = Buffer.from(text)
  const last = credential.length - PIECE
  return Array.from({ length: last + 1 }, (_, at) => credential.slice(at, at + PIECE)).some(
    (piece) => bytes.includes(piece),
  )
}

/** The body of an answer, without its chunks. An empty text when it is broken off. */
export function bodyOf({ headers, body }: RawAnswer): string {
  return headers['transfer-encoding'] === undefined ? body : (dechunk(body) ?? '')
}

/** A vault's refusal: its status and its code. */
export function refusalOf({ status, headers }: RawAnswer): string {
  return `${status} ${headers['x-vault-error']}`
}
