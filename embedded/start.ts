/** `npm start`: the gateway and a whole workspace behind it on this machine, until Ctrl+C. */
import { EXIT } from '../src/exit-codes.ts'
import { ConfigError, SECRET_VARIABLES } from '../src/config/load.ts'
import { SecretFileError } from '../src/secret-file.ts'
import { welcomeText } from './welcome.ts'
import { PortTakenError, startWorkspace } from './workspace.ts'

/** npm passes a Ctrl+C on that the terminal has sent already: two signals so close are one. */
const SAME_SIGNAL_MS = 500

const stop = stopSignal()
try {
  const settings = { ...process.env }
  for (const name of SECRET_VARIABLES) delete process.env[name]
  const workspace = await startWorkspace(settings, (trouble) => {
    if (!stop.isWanted()) process.stderr.write(`${trouble}\n`)
  })
  if (!stop.isWanted()) process.stdout.write(welcomeText(workspace))
  await stop.wanted
  await workspace.close()
  process.exit(EXIT.ok)
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`)
  process.exit(exitCodeOf(error))
}

function exitCodeOf(error: unknown): number {
  if (error instanceof ConfigError || error instanceof SecretFileError) return EXIT.config
  return error instanceof PortTakenError ? EXIT.unavailable : EXIT.failed
}

/** Resolves on the first signal that means "stop", also during the start; a later one ends the process at once. */
function stopSignal() {
  const { promise, resolve } = Promise.withResolvers<void>()
  let since: number | null = null
  const onSignal = () => {
    if (since === null) {
      since = performance.now()
      resolve()
    } else if (performance.now() - since > SAME_SIGNAL_MS) {
      process.exit(EXIT.failed)
    }
  }
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, onSignal)
  return { wanted: promise, isWanted: () => since !== null }
}
