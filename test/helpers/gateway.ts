/** How does a test start a gateway? In this process, on a free loopback port, with services that count their connections. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import { loadConfig, type Config } from '../../src/config/load.ts'
import { startGateway, type RunningGateway } from '../../src/process/lifecycle.ts'
import { mintToken } from '../../src/identity/mint.ts'
import {
  ADDRESS_SETTINGS,
  PROBED_SERVICES,
  SERVICES,
  type ProbedService,
} from '../../src/rules/services.ts'
import { startUpstream, type Upstream } from './upstream.ts'
import { Arrivals, eventually } from './waiting.ts'

/** The secret that signs test tokens. */
export const SECRET = 'test-key-of-houston-3f9c1d27b8a64e05'

/** The settings of a test gateway: a workspace named houston, on a free loopback port, with generous limits. */
export function testSettings(
  overrides: Record<string, string | undefined> = {},
): Record<string, string | undefined> {
  return {
    GATEWAY_WORKSPACE: 'houston',
    GATEWAY_JWT_SECRET: SECRET,
    GATEWAY_HOST: '127.0.0.1',
    GATEWAY_PORT: '0',
    GATEWAY_RATE_LIMIT: '100000',
    GATEWAY_DRAIN_SECONDS: '1',
    // Tests wait for the log line of their request.
    GATEWAY_LOG_PROBES: 'true',
    GATEWAY_LOG_REFUSALS: 'each',
    ...overrides,
  }
}

/** A running gateway and its services. */
export interface TestGateway {
  port: number
  origin: string
  config: Config
  running: RunningGateway
  /** The parsed log lines so far. */
  logLines: () => Array<Record<string, unknown>>
  /** Waits for a log line that matches a condition. */
  logLine: (matches: (line: Record<string, unknown>) => boolean) => Promise<Record<string, unknown>>
}

/** Starts a gateway, which stops when the test ends. Settings with the value undefined are omitted. */
export async function startTestGateway(
  t: Test,
  overrides: Record<string, string | undefined> = {},
): Promise<TestGateway> {
  const stateDir = mkdtempSync(join(tmpdir(), 'workspace-gateway-test-'))
  const config = loadConfig(testSettings({ GATEWAY_STATE_DIR: stateDir, ...overrides }))
  const lines: string[] = []
  const arrivals = new Arrivals()
  const running = await startGateway(config, {
    logDestination: {
      write(line: string) {
        lines.push(line)
        arrivals.wake()
      },
    },
  })
  t.teardown(async () => {
    await running.close()
    rmSync(stateDir, { recursive: true, force: true })
  })
  const logLines = () => lines.map((line) => JSON.parse(line) as Record<string, unknown>)
  return {
    port: running.address.port,
    origin: `http://127.0.0.1:${running.address.port}`,
    config,
    running,
    logLines,
    logLine: (matches) => arrivals.until(() => logLines().find(matches)),
  }
}

/** Starts a gateway with all services of src/rules/services.ts. Each is an echo that counts its connections. */
export async function startWorkspace(t: Test, overrides: Record<string, string | undefined> = {}) {
  const started = await Promise.all(
    PROBED_SERVICES.map(async (name) => [name, await startUpstream(t)] as const),
  )
  const services = Object.fromEntries(started) as Record<ProbedService, Upstream>
  const gateway = await startTestGateway(t, {
    ...Object.fromEntries(started.map(([name, { url }]) => [SERVICES[name].address.env, url])),
    ...overrides,
  })
  /** The connections that all services together have accepted. */
  const dials = () => Object.values(services).reduce((sum, service) => sum + service.dials(), 0)
  return { ...gateway, services, dials }
}

/** Makes a valid token of the test workspace. */
export function token(overrides: Partial<Parameters<typeof mintToken>[0]> = {}): Promise<string> {
  return mintToken({
    secret: SECRET,
    workspace: 'houston',
    subject: 'alice',
    ttlSeconds: 3600,
    ...overrides,
  })
}

/**
 * Starts a gateway with one service for all routes, and returns the header line that signs a request in.
 * The gateway does not wait for requests in flight when the test ends.
 */
export async function startBefore<Service extends { url: string }>(
  t: Test,
  service: Service,
  overrides: Record<string, string | undefined> = {},
) {
  const gateway = await startTestGateway(t, {
    ...Object.fromEntries(ADDRESS_SETTINGS.map(({ env }) => [env, service.url])),
    GATEWAY_DRAIN_SECONDS: '0',
    ...overrides,
  })
  const { services, openSockets } = gateway.running.parts
  /** The requests and WebSockets in flight. */
  const underWay = () =>
    Object.values(services).reduce((sum, { inFlight }) => sum + inFlight, openSockets.size)
  return {
    ...gateway,
    service,
    auth: `Authorization: Bearer ${await token()}`,
    underWay,
    /** Waits until nothing is in flight. */
    settled: () => eventually(() => underWay() === 0, 'nothing under way'),
  }
}
