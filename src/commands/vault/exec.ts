/**
 * `workspace-gateway vault exec`: how does a program that knows nothing of the vault use a lease? It is started with the variables
 * that its tools read. Its leases are renewed while it runs, and given back when it ends, however it ends.
 */
import { parseArgs } from 'node:util'
import type { Environment } from '../../config/load.ts'
import { VAULT_SETTINGS } from '../../config/vault-settings.ts'
import { EXIT } from '../../process/exit-codes.ts'
import { askForLease, VaultNotReachedError, VaultRefusedError } from '../../vault/agent-client.ts'
import {
  clashOf,
  clientEnvironment,
  conflictingVariables,
  withoutTools,
  type LeasedService,
} from '../../vault/client-environment.ts'
import { startClientRelay, type ClientRelay } from '../../vault/client-relay.ts'
import { KeptLeases, type KeepOptions } from '../../vault/kept-leases.ts'
import type { LeaseAnswer, LeaseRequest } from '../../vault/protocol.ts'
import type { Io } from '../io.ts'
import { CommandError, wrongUsage } from '../owner.ts'
import { messageText } from '../printable.ts'
import { ownSocket } from './own-socket.ts'
import { catchSignals, runChild, type Signals } from './run-child.ts'

/** The exit code when the vault refuses a lease (EX_NOPERM of sysexits.h). */
const NOT_PERMITTED = 77

/**
 * Runs a program with leases.
 * @param options the clock and the longest time, for tests
 * @returns the program's exit code, and 128 and the signal's number when a signal ended it; 126 when the program cannot be run and
 * 127 when it is not found, as a shell says it; 64 for wrong usage; 69 when no vault answers; 77 when the vault refuses a lease; 78
 * for an invalid setting
 * @throws an error with a code `ERR_PARSE_ARGS_…` for unknown arguments
 */
export async function exec(
  args: readonly string[],
  env: Environment,
  io: Io,
  options: KeepOptions = {},
): Promise<number> {
  const signals = catchSignals()
  process.stderr.on('error', nobodyReads)
  try {
    return await runLeased(planOf(args, env), { env, io, signals, options })
  } catch (error) {
    const { message, exitCode } = failureOf(error)
    io.err(`workspace-gateway: ${messageText(message)}\n`)
    return exitCode
  } finally {
    signals.stop()
  }
}

/** Messages that nobody reads any longer, as in `… 2>&1 | head -1`, may not end this process before its leases are given back. */
function nobodyReads(): void {}

/** What the command line says. */
interface Plan {
  readonly requests: readonly LeaseRequest[]
  readonly socket: string
  readonly program: string
  readonly programArgs: readonly string[]
}

const SERVICE = /^[a-z0-9-]{1,40}$/

/** Reads the command line. What stands behind `--` belongs to the program. @throws {CommandError} */
function planOf(args: readonly string[], env: Environment): Plan {
  const end = args.indexOf('--')
  const [program = '', ...programArgs] = end < 0 ? [] : args.slice(end + 1)
  if (program === '')
    throw wrongUsage('vault', 'vault exec takes SERVICE[,SERVICE] -- PROGRAM [ARGUMENT…]')
  const { values, positionals } = parseArgs({
    args: args.slice(0, end),
    allowPositionals: true,
    options: { socket: { type: 'string' }, methods: { type: 'string' }, paths: { type: 'string' } },
  })
  const [list = '', ...more] = positionals
  const services = [...new Set(list.split(','))]
  const wrong = services.find((service) => !SERVICE.test(service))
  if (more.length > 0 || wrong !== undefined)
    throw wrongUsage('vault', `"${more[0] ?? wrong}" is not a service such as github`)
  const narrowed = narrowing(values)
  if (services.length > 1 && Object.keys(narrowed).length > 0)
    throw wrongUsage(
      'vault',
      '--methods and --paths narrow the lease of one service; there are several',
    )
  const requests = services.map((service) => Object.assign({ service }, narrowed))
  return { requests, socket: values.socket ?? ownSocket(env), program, programArgs }
}

function narrowing({
  methods,
  paths,
}: Record<string, string | undefined>): Pick<LeaseRequest, 'methods' | 'paths'> {
  return {
    ...(methods === undefined ? {} : { methods: methods.toUpperCase().split(',') }),
    ...(paths === undefined ? {} : { paths: paths.split(',') }),
  }
}

interface Surroundings {
  readonly env: Environment
  readonly io: Io
  readonly signals: Signals
  readonly options: KeepOptions
}

async function runLeased(plan: Plan, { env, io, signals, options }: Surroundings): Promise<number> {
  const { requests, socket, program, programArgs } = plan
  const kept = new KeptLeases(
    socket,
    (service, why) => io.err(`workspace-gateway: the lease for "${service}" ends: ${why}\n`),
    options,
  )
  let relay: ClientRelay | undefined
  try {
    const answers: Answered[] = []
    for (const request of requests) {
      const answer = await askForLease(socket, request)
      kept.keep(request.service, answer)
      answers.push({ service: request.service, answer })
    }
    const withoutPort = answers.filter(({ answer }) => answer.base_url === null)
    if (withoutPort.length > 0)
      relay = await startClientRelay(
        socket,
        withoutPort.map(({ service }) => service),
      )
    const leased = answers.map((one) => leasedOf(one, relay))
    checkNames(leased, io)
    const environment = childEnvironment(env, leased)
    return await runChild(program, programArgs, { environment, signals })
  } finally {
    await kept.close()
    await relay?.close()
  }
}

/** Says which services have only variables of their own. @throws {CommandError} when two services set one variable */
function checkNames(leased: readonly LeasedService[], io: Io): void {
  const clash = clashOf(leased)
  if (clash !== undefined)
    throw wrongUsage(
      'vault',
      `"${clash.services[0]}" and "${clash.services[1]}" both set ${clash.variable}, and their tools would use the lease of one at the address of the other; run "vault exec" once for each`,
    )
  for (const { service } of withoutTools(leased))
    io.err(
      `workspace-gateway: "${service}" has variables of its own only, because an earlier service sets those that the tools read; name it first, or alone, to use it with them\n`,
    )
}

interface Answered {
  readonly service: string
  readonly answer: LeaseAnswer
}

function leasedOf({ service, answer }: Answered, relay: ClientRelay | undefined): LeasedService {
  const { token, origin, remote, base_url: baseUrl } = answer
  const tools = { service, origin, ...(remote === undefined ? {} : { remote }) }
  return { ...tools, token, baseUrl: baseUrl ?? relay?.baseUrl(service) ?? '' }
}

/** The vault's own variables. The socket's folder stays, because the program may use this command too. */
const OWN_VARIABLES = Object.values(VAULT_SETTINGS)
  .filter(({ env }) => env !== VAULT_SETTINGS.sockets.env)
  .flatMap(({ env }) => [env, `${env}_FILE`])

function childEnvironment(env: Environment, leased: readonly LeasedService[]): Environment {
  const removed = [...OWN_VARIABLES, ...conflictingVariables(leased)]
  const inherited = Object.entries(env).filter(([name]) => !removed.includes(name))
  return { ...Object.fromEntries(inherited), ...clientEnvironment(leased, env) }
}

/** The message and exit code of a failure. @throws what is not a failure of the command */
function failureOf(error: unknown): { message: string; exitCode: number } {
  if (error instanceof CommandError) return error
  if (error instanceof VaultNotReachedError)
    return { message: error.message, exitCode: EXIT.unavailable }
  if (error instanceof VaultRefusedError)
    return { message: error.message, exitCode: exitCodeOfRefusal(error) }
  throw error
}

function exitCodeOfRefusal({ status }: VaultRefusedError): number {
  if (status === 401 || status === 403) return NOT_PERMITTED
  return status === 429 || status >= 500 ? EXIT.unavailable : EXIT.failed
}
