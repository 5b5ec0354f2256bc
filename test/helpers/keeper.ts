/** A gateway with a keeper (GATEWAY_HOT_RESTART), and how it is replaced. */
import type { Test } from 'tap'
import { askAdmin } from '../../src/admin/ask.ts'
import { serve } from './process.ts'
import { eventually } from './waiting.ts'

/** Starts take many times as long on a machine that is busy, in milliseconds. */
export const PATIENCE_MS = 60_000

/** Starts a gateway with a keeper; both end with the test. */
export async function serveKept(
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
    /** The process id of the gateway itself, as the admin door says. */
    async gatewayPid() {
      const { body } = await askAdmin(program.stateDir, '/status')
      return (JSON.parse(body) as { pid: number }).pid
    },
    /** Asks for another process and waits until it has taken over; the old one may still be on its way out. */
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
