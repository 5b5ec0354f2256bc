/** `workspace-gateway second-factor`: who has which second factor, and how does somebody get in who has lost theirs? */
import { parseArgs } from 'node:util'
import type { FactorsListView, FactorsView, ResetView } from '../admin/second-factor-actions.ts'
import type { Environment } from '../config/load.ts'
import { FACTOR_ADVICE, LOST_ADVICE } from '../identity/second-factor/factor-advice.ts'
import { isSubject } from '../rules/subject.ts'
import { printable } from '../answers/printable.ts'
import type { Io } from './io.ts'
import { doAction, exitCodeOf, NOT_SAVED, wrongUsage } from './owner.ts'
import { jsonText, minuteText, tableText } from './printable.ts'

/**
 * Lists second factors, removes those of a person, or ends a lock.
 * @returns 0; 1 when it was refused; 64 for wrong usage; 69 when the gateway cannot be asked or another process writes the
 * state; 78 for an invalid setting
 * @throws an error with a code `ERR_PARSE_ARGS_…` for unknown arguments
 */
export async function secondFactor(
  args: readonly string[],
  env: Environment,
  io: Io,
): Promise<number> {
  const [verb, ...rest] = args
  return exitCodeOf(io, async () => {
    if (verb === 'list') await list(rest, env, io)
    else if (verb === 'reset') await reset(subjectOf(verb, rest), env, io)
    else if (verb === 'unlock') await unlock(subjectOf(verb, rest), env, io)
    else throw wrongUsage('second-factor', 'second-factor takes "list", "reset" or "unlock"')
  })
}

function subjectOf(verb: string, args: readonly string[]): string {
  const { values } = parseArgs({ args: [...args], options: { sub: { type: 'string' } } })
  if (isSubject(values.sub)) return values.sub
  throw wrongUsage('second-factor', `second-factor ${verb} needs --sub NAME`)
}

async function list(args: readonly string[], env: Environment, io: Io): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: { json: { type: 'boolean', default: false } },
  })
  const answer = (await doAction('list-second-factors', env)) as FactorsListView
  const { secondFactors: all, lost } = answer
  if (values.json) io.out(jsonText(all))
  else if (all.length === 0 && !lost) io.err('workspace-gateway: nobody has a second factor\n')
  else if (all.length > 0) io.out(tableText(COLUMNS, all.flatMap(rowsOf)))
  for (const line of [...factorWarnings(all), ...(lost ? [LOST] : [])])
    io.err(`workspace-gateway: ${printable(line)}\n`)
}

const LOST = `second factors may have been lost with a damaged state, and nobody knows whose, so whoever is not in the list counts as having one and is refused: ${LOST_ADVICE}`

const COLUMNS = 'SUB,FACTOR,NAME,SINCE,LAST USED,STATE'.split(',')

function rowsOf({ sub, totp, passkeys, backupCodes, lockedUntil }: FactorsView): string[][] {
  const locked = lockedUntil === null ? 'in force' : `locked until ${minuteText(lockedUntil)}`
  const rows = passkeys.map(({ name, host, createdAt, lastUsedAt, counterFellAt }) => [
    ...[sub, 'passkey', `${name} (${host})`, minuteText(createdAt), minuteText(lastUsedAt)],
    counterFellAt === null ? 'in force' : `counter fell ${minuteText(counterFellAt)}`,
  ])
  if (totp !== null) {
    const times = [totp.createdAt, totp.lastUsedAt].map(minuteText)
    rows.unshift([sub, 'app', '-', ...times, totp.problem ?? locked])
  }
  if (backupCodes !== null) {
    const { createdAt, left, problem } = backupCodes
    rows.push([sub, 'codes', '-', minuteText(createdAt), '-', problem ?? `${left} of 10 left`])
  }
  return rows
}

/** What a person should do something about, one line each. */
export function factorWarnings(all: readonly FactorsView[]): string[] {
  return all.flatMap(({ sub, totp, passkeys, backupCodes }) => [
    ...(totp === null || totp.problem === null ? [] : [`${sub}: ${adviceOn(totp.problem)}`]),
    ...(totp === null && backupCodes !== null && backupCodes.problem !== null
      ? [`${sub}: ${adviceOn(backupCodes.problem)}`]
      : []),
    ...passkeys
      .filter(({ counterFellAt }) => counterFellAt !== null)
      .map(({ name }) => `${sub}: there may be a copy of the passkey ${name}, so remove it`),
  ])
}

function adviceOn(problem: string): string {
  const advice: Readonly<Record<string, string>> = FACTOR_ADVICE
  return advice[problem] ?? problem
}

async function reset(sub: string, env: Environment, io: Io): Promise<void> {
  const answer = (await doAction('reset-second-factor', env, { body: { sub } })) as ResetView
  const sessions = answer.ended === 1 ? '1 session' : `${answer.ended} sessions`
  const factors = answer.reset ? 'removed' : 'there were none'
  io.out(`second factors of ${printable(sub)}: ${factors}; ${sessions} ended\n`)
  if (!answer.saved) io.err(`workspace-gateway: ${NOT_SAVED}\n`)
}

async function unlock(sub: string, env: Environment, io: Io): Promise<void> {
  const answer = await doAction('unlock-second-factor', env, { body: { sub } })
  const { unlocked } = answer as { unlocked: boolean }
  io.out(`codes of ${printable(sub)}: ${unlocked ? 'unlocked' : 'were not locked'}\n`)
}
