/** `workspace-gateway doctor`: is everything around the gateway in order? A table of findings, each fault with its remedy. */
import { EXIT } from '../process/exit-codes.ts'
import { setTimeout as pause } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { ConfigError, loadConfig, type Config, type Environment } from '../config/load.ts'
import { HUBCODE_HOME, LINK_SETTINGS } from '../config/link-settings.ts'
import { configAdvice } from './advice.ts'
import { examineClientAddress } from './doctor/client-address.ts'
import { examineClock } from './doctor/clock.ts'
import { examineAnswers } from './doctor/service-answers.ts'
import { Examination, type Examine, type Machine } from './doctor/examination.ts'
import { fail, pass, warn, type Finding, type Verdict } from './doctor/finding.ts'
import { DAEMON_WORDS, examineDaemon } from './doctor/daemon.ts'
import { examineGateway } from './doctor/gateway.ts'
import { examineLink } from './doctor/link.ts'
import { examineOpenPorts } from './doctor/open-ports.ts'
import { examineOpenclaw } from './doctor/openclaw.ts'
import { examineOwner } from './doctor/owner.ts'
import { examineSecondFactor } from './doctor/second-factor.ts'
import { examineStateFolder } from './doctor/state-folder.ts'
import { examineStats } from './doctor/stats.ts'
import { examineTerminal } from './doctor/terminal.ts'
import { examineTerminalsKeeper } from './doctor/terminals-keeper.ts'
import { examineVault } from './doctor/vault.ts'
import { doctorWords, PROBED_SERVICES, type ProbedService } from '../rules/services.ts'
import type { Io } from './io.ts'
import { jsonText } from './printable.ts'

/** The time limit for all questions together, in milliseconds. Each question has shorter limits of its own. */
const DEADLINE_MS = 9000

/** The questions for services that need more than one GET; any other service is asked for its front page. */
const OWN_QUESTIONS: Readonly<Partial<Record<ProbedService, Examine>>> = {
  terminal: examineTerminal,
  api: examineOpenclaw,
  health: examineStats,
}

/** One question for each probed service, by doctor's name for the service. */
const SERVICE_QUESTIONS: Readonly<Record<string, Examine>> = Object.fromEntries(
  PROBED_SERVICES.map((name): [string, Examine] => [
    doctorWords(name).name,
    OWN_QUESTIONS[name] ?? ((examination) => examineAnswers(name, examination)),
  ]),
)

/** The questions, in the order of the table. All run at once. */
const QUESTIONS: Readonly<Record<string, Examine>> = {
  'state-folder': examineStateFolder,
  gateway: examineGateway,
  'client-address': examineClientAddress,
  owner: examineOwner,
  'second-factor': examineSecondFactor,
  ...SERVICE_QUESTIONS,
  [DAEMON_WORDS.name]: examineDaemon,
  'terminals-keeper': examineTerminalsKeeper,
  vault: examineVault,
  link: examineLink,
  'open-ports': examineOpenPorts,
}

/** Options for tests. */
export interface DoctorOptions {
  /** The addresses of this machine beyond loopback; read from the system by default. */
  readonly outerAddresses?: readonly string[]
  /** How many times its usual time each answer may take: a test has everybody who is asked in one process, on a busy machine. */
  readonly patience?: number
  /** Where the processes and the vault of this machine are. */
  readonly machine?: Partial<Machine>
}

/**
 * Examines the running gateway, the services and this machine, and prints the findings with a remedy for each fault.
 * @returns 0 when nothing fails, else 1
 * @throws an error with a code `ERR_PARSE_ARGS_…` for arguments that it does not know
 */
export async function doctor(
  args: readonly string[],
  env: Environment,
  io: Io,
  options: DoctorOptions = {},
): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: { json: { type: 'boolean', default: false } },
  })
  const findings = await examine(env, options)
  const isWell = findings.every(({ verdict }) => verdict !== 'fail')
  io.out(values.json ? jsonText({ ok: isWell, findings }) : tableOf(findings))
  return isWell ? EXIT.ok : EXIT.failed
}

async function examine(
  env: Environment,
  { outerAddresses, patience = 1, machine = {} }: DoctorOptions,
): Promise<Finding[]> {
  let config: Config
  try {
    config = loadConfig(env)
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    const remedy = 'correct it; "workspace-gateway check --explain NAME" tells what a setting takes'
    return error.problems.map((problem) => fail('configuration', problem, remedy))
  }
  const examination = new Examination(config, outerAddresses, {
    patience,
    machine: { linkFolders: linkFolders(env), ...machine },
  })
  const deadline = new AbortController()
  const asked = await Promise.all(
    Object.entries(QUESTIONS).map(async ([name, question]) =>
      Promise.race([
        question(examination).catch((error: unknown) => [broken(name, error)]),
        pause(DEADLINE_MS * patience, [tooSlow(name)], {
          signal: deadline.signal,
          ref: false,
        }).catch(() => []),
      ]),
    ),
  )
  deadline.abort()
  return [await judgeConfiguration(config, env), ...asked.flat(), ...examineClock(examination)]
}

/** Where the link has its files, as far as this environment says. */
function linkFolders(env: Environment): string[] {
  return [env[LINK_SETTINGS.stateDir.env], env[HUBCODE_HOME]].filter((path) => path !== undefined)
}

async function judgeConfiguration(config: Config, env: Environment): Promise<Finding> {
  const { length } = await configAdvice(config, env)
  return length === 0
    ? pass('configuration', 'it is valid')
    : warn(
        'configuration',
        `it is valid, and ${length === 1 ? 'one thing in it is' : `${length} things in it are`} unwise`,
        '"workspace-gateway check" says what',
      )
}

function tooSlow(name: string): Finding {
  return fail(
    name,
    `no verdict within ${DEADLINE_MS / 1000} s`,
    'something takes connections and then says nothing: see the other lines',
  )
}

/** The finding for a question that threw. The message of the error may quote a secret, so only its name is printed. */
function broken(name: string, error: unknown): Finding {
  const kind = error instanceof Error ? error.name : typeof error
  return fail(name, `could not be looked at (${kind})`, 'report this as a fault of the doctor')
}

const SIGNS: Readonly<Record<Verdict, string>> = {
  pass: 'pass',
  warn: 'WARN',
  fail: 'FAIL',
  skip: 'skip',
}

function tableOf(findings: readonly Finding[]): string {
  const width = Math.max(...findings.map(({ check }) => check.length))
  const indent = ' '.repeat(width + 8)
  const lines = findings.flatMap(({ check, verdict, detail, remedy }) => [
    `${SIGNS[verdict]}  ${check.padEnd(width)}  ${oneLine(detail)}`,
    ...(remedy === undefined ? [] : [`${indent}-> ${oneLine(remedy)}`]),
  ])
  const count = (verdict: Verdict) => findings.filter((one) => one.verdict === verdict).length
  const summary = `${count('pass')} passed, ${count('warn')} to look at, ${count('fail')} failed, ${count('skip')} not tried`
  return `${lines.join('\n')}\n\n${summary}\n`
}

/** Text without control characters: they may quote a service, which must not control the user's terminal. */
function oneLine(text: string): string {
  return text.replace(/\p{C}/gu, '?')
}
