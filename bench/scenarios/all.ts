/** Which scenarios are there? All of these, in the order of the table. */
import { bodies } from './bodies.ts'
import { cold } from './cold.ts'
import { flood } from './flood.ts'
import { latency } from './latency.ts'
import { limits } from './limits.ts'
import { sockets, startup } from './process.ts'
import { proxied } from './proxied.ts'
import { relay, relayMemory } from './relay.ts'
import { refusals } from './refusals.ts'
import type { Scenario } from './scenario.ts'
import { terminalMemory, terminals } from './terminals.ts'
import { vault } from './vault.ts'
import { websockets } from './websockets.ts'

export const SCENARIOS = {
  proxied,
  cold,
  latency,
  flood,
  refusals,
  bodies,
  websockets,
  sockets,
  startup,
  terminals,
  'terminal-memory': terminalMemory,
  vault,
  relay,
  'relay-memory': relayMemory,
  limits,
} as const satisfies Record<string, Scenario>

export type ScenarioName = keyof typeof SCENARIOS
