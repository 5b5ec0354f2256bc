/** What does `npm start` do? It runs the gateway and a whole workspace behind it on this machine, until Ctrl+C. */
import { EXIT } from '../src/process/exit-codes.ts'
import { ConfigError, SECRET_VARIABLES } from '../src/config/load.ts'
import { SecretFileError } from '../src/store/secret-file.ts'
import { GatewayNotReachedError } from '../src/admin/ask.ts'
import { NewerStateError, StateBusyError } from '../src/store/state-errors.ts'
import { readArguments, USAGE, UsageError } from './arguments.ts'
import { silentServices } from './named-services.ts'
import { buildRemotePageIfOld } from './remote-page.ts'
import { stopSignal } from './stop-signal.ts'
import { listed, welcomeText } from './welcome.ts'
import { TakenError, startWorkspace } from './workspace.ts'

/** How long a configured service may take to start before it is reported as not responding. */
const SERVICES_MS = 10_000

const stop = stopSignal()
try {
  const { help, port } = readArguments(process.argv.slice(2))
  if (help) {
    process.stdout.write(USAGE)
    process.exit(EXIT.ok)
  }
  const settings = { ...process.env, ...(port === undefined ? {} : { GATEWAY_PORT: port }) }
  for (const name of SECRET_VARIABLES) delete process.env[name]
  const tell = (trouble: string) => {
    if (!stop.signal.aborted) process.stderr.write(`${trouble}\n`)
  }
  const workspace = await startWorkspace(settings, tell)
  void buildRemotePageIfOld(tell)
  const silent = await silentServices(workspace.named, {
    waitMs: SERVICES_MS,
    onWait: (services) => process.stdout.write(`Waiting for ${listed(services)} …\n`),
    signal: stop.signal,
  })
  if (!stop.signal.aborted) process.stdout.write(welcomeText(workspace, silent))
  await stop.wanted
  await workspace.close()
  process.exit(EXIT.ok)
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`)
  if (error instanceof UsageError) process.stderr.write('Try "npm start -- --help".\n')
  process.exit(exitCodeOf(error))
}

function exitCodeOf(error: unknown): number {
  if (error instanceof ConfigError || error instanceof SecretFileError) return EXIT.config
  if (error instanceof NewerStateError) return EXIT.config
  if (error instanceof UsageError) return EXIT.usage
  const taken = [TakenError, StateBusyError, GatewayNotReachedError]
  return taken.some((kind) => error instanceof kind) ? EXIT.unavailable : EXIT.failed
}
