/** How does a test start a gateway with its operator's interfaces? With an admin socket, a metrics port and a log. */
import type { Test } from 'tap'
import { askAdmin } from '../../src/admin/ask.ts'
import type { Config } from '../../src/config/load.ts'
import { openLog } from '../../src/observe/log.ts'
import { startOperations } from '../../src/admin/routes.ts'
import { startWorkspace } from './gateway.ts'
import { temporaryFolder } from './process.ts'

/** Makes a logger whose parsed lines a test can read. */
export function recordingLogger() {
  const lines: string[] = []
  const { logger } = openLog('info', { write: (line: string) => lines.push(line) })
  return { logger, lines: () => lines.map((line) => JSON.parse(line) as Record<string, unknown>) }
}

/** Starts a gateway with all services and a state folder of its own. Everything stops when the test ends. */
export async function startOperated(
  t: Test,
  settings: Record<string, string | undefined> = {},
  overrides: Partial<Config> = {},
) {
  const workspace = await startWorkspace(t, settings)
  const stateDir = temporaryFolder(t)
  const log = recordingLogger()
  const { running } = workspace
  const config = { ...workspace.config, ...overrides, stateDir }
  const operations = await startOperations(running, config, { logger: log.logger })
  t.teardown(() => operations.close())
  return {
    ...workspace,
    parts: running.parts,
    stateDir,
    operations,
    operationsLog: log.lines,
    /** Sends a request to the admin socket. */
    ask: (path: string) => askAdmin(stateDir, path),
  }
}
