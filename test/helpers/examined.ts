/** How is the doctor tested? With stand-ins for the services, and with its findings by name. */
import type { Test } from 'tap'
import { startAgentApi } from '../../embedded/agent-api.ts'
import { startDashboard } from '../../embedded/dashboard.ts'
import type { Running } from '../../embedded/listener.ts'
import { startStatsServer } from '../../embedded/stats-server.ts'
import { startBuiltInTerminal } from '../../embedded/terminal-built-in.ts'
import { Examination, type Examine } from '../../src/commands/doctor/examination.ts'
import type { Finding } from '../../src/commands/doctor/finding.ts'
import { loadConfig } from '../../src/config/load.ts'
import { ADDRESS_SETTINGS } from '../../src/rules/services.ts'
import { testSettings } from './gateway.ts'
import { startUpstream } from './upstream.ts'

/** The terminal's credential in tests. */
export const CREDENTIAL = 'user:test-password-of-the-terminal'

/** Starts a healthy stand-in for each service and returns the settings with their addresses. */
export async function startStandIns(t: Test, options: Parameters<typeof startAgentApi>[0] = {}) {
  const stop = (service: Running) => {
    t.teardown(() => service.close())
    return service.url
  }
  const terminal = {
    credential: CREDENTIAL,
    shell: '/bin/sh',
    env: {},
    onUnexpectedExit: () => {},
  }
  const { url } = await startUpstream(t) // for a service that has no stand-in of its own
  return {
    ...Object.fromEntries(ADDRESS_SETTINGS.map(({ env }) => [env, url])),
    GATEWAY_DASHBOARD_URL: stop(await startDashboard()),
    GATEWAY_API_URL: stop(await startAgentApi(options)),
    GATEWAY_TERMINAL_URL: stop(await startBuiltInTerminal(terminal)),
    GATEWAY_HEALTH_URL: stop(await startStatsServer()),
  }
}

/** Runs one check of the doctor with these settings and returns its findings by name. */
export async function examined(
  question: Examine,
  settings: Record<string, string | undefined>,
  outerAddresses: readonly string[] = [],
): Promise<Record<string, Finding>> {
  const examination = new Examination(loadConfig(testSettings(settings)), outerAddresses)
  return byName(await question(examination))
}

/** Indexes findings by name. */
export function byName(findings: readonly Finding[]): Record<string, Finding> {
  return Object.fromEntries(findings.map((finding) => [finding.check, finding]))
}
