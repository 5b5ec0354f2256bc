/** Every scenario, in the order of the table. */
import { proxied } from './proxied.ts'
import type { Scenario } from './scenario.ts'

export const SCENARIOS = { proxied } as const satisfies Record<string, Scenario>

export type ScenarioName = keyof typeof SCENARIOS
