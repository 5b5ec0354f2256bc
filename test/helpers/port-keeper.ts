/** How does a test replace a gateway without a gap? It starts one with a port keeper (GATEWAY_HOT_RESTART). */
import type { Test } from 'tap'
import { askAdmin } from '../../src/admin/ask.ts'
import { serve } from './process.ts'
import { eventually } from './waiting.ts'

/** The time limit for a start, in milliseconds. On a busy machine a start takes many times as long as usual. */
export const PATIENCE_MS = 60_000

/** Starts a gateway with a port keeper. Both end with the test. */
export async function serveWithPortKeeper(
  t: Test,
  settings: Record<string, string | undefined> = {},
  main?: string,
) {
  const program = await serve(t, { GATEWAY_HOT_RESTART: 'true', ...settings }, main)
  const times = (message: string) => program.logLines().filter(({ msg }) => msg === message).length
  const said = (message: string, count = 1) =>
    eventually(() => times(message) >= count, `"${message}", ${count} times`, PATIENCE_MS)
  return {
    ...program,
    said,
    /** The process id of the gateway itself, read from the admin socket. */
    async gatewayPid() {
      const { body } = await askAdmin(program.stateDir, '/status')
      return (JSON.parse(body) as { pid: number }).pid
    },
    /** Requests a new process and waits until it has taken over. The old process may still be ending. */
    async replace() {
      const before = times('gateway replaced')
      program.child.kill('SIGUSR2')
      await said('gateway replaced', before + 1)
    },
    async stop() {
      program.child.kill('SIGTERM')
      return program.exited
    },
  }
}
