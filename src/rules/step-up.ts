/**
 * Must a person prove more than a sign-in before they use a route? Some routes want a second factor that was shown lately: to the
 * login service, which says so in the token, or here. An open WebSocket is not asked again.
 */
import type { ServiceName } from './services.ts'

/** What routes want, from the settings. */
export interface StepUpRules {
  /** GATEWAY_TERMINAL_AMR: one of these values of `amr` suffices (RFC 8176); with none, only a factor that was shown here does. */
  readonly methods: readonly string[]
  /** Whether factors are kept here (GATEWAY_SECOND_FACTOR). */
  readonly isLocal: boolean
  /** How long a proof counts, in seconds (GATEWAY_TERMINAL_MAX_AGE). */
  readonly maxAgeSeconds: number
  /** GATEWAY_STEP_UP_ROUTES */
  readonly routes: readonly ServiceName[]
}

/** What is known of how a person has proved who they are. Times are in milliseconds since 1970. */
export interface Proofs {
  /** `amr` */
  readonly methods: readonly string[]
  /** `auth_time`; undefined when it is not known. */
  readonly authenticatedAt: number | undefined
  /** When they last showed a factor here; undefined for never. */
  readonly factorAt: number | undefined
}

/** The `reason` of a refusal after GATEWAY_STEP_UP_URL has sent a browser back; doctor looks for it. */
export const CAME_BACK_REASON =
  'came back from GATEWAY_STEP_UP_URL without a second factor that counts'

/** A proof may be this far ahead, because the clock may have been set back since, in milliseconds. Further ahead it is wrong. */
const MAX_AHEAD_MS = 300_000

/** Whether a route wants more than a sign-in. */
export function wantsStepUp(
  { methods, isLocal, routes }: StepUpRules,
  route: ServiceName,
): boolean {
  return (isLocal || methods.length > 0) && routes.includes(route)
}

/** Whether a person has proved enough lately. @param now milliseconds since 1970 */
export function hasSteppedUp(
  { methods, isLocal, maxAgeSeconds }: StepUpRules,
  { methods: shown, authenticatedAt, factorAt }: Proofs,
  now: number,
): boolean {
  if (isLocal && isRecent(factorAt, maxAgeSeconds, now)) return true
  if (!isRecent(authenticatedAt, maxAgeSeconds, now)) return false
  // A loop, because each request of the route comes here, and a callback would be made for each.
  for (const method of shown) if (methods.includes(method)) return true
  return false
}

function isRecent(at: number | undefined, maxAgeSeconds: number, now: number): boolean {
  return at !== undefined && now - at <= maxAgeSeconds * 1000 && at - now <= MAX_AHEAD_MS
}
