/** Do the API tokens, the keys and the step-up of the running gateway deserve a look? What the admin socket lists tells. */
import { askAdmin, GatewayNotReachedError } from '../../admin/ask.ts'
import { OWNER_ACTIONS, type ActionName } from '../../admin/owner-actions.ts'
import { tokenAdvice, type ListedApiToken } from '../../identity/api-token-list.ts'
import type { KeyUse } from '../../identity/key-report.ts'
import type { RefusalView } from '../../admin/refusals.ts'
import { CAME_BACK_REASON } from '../../rules/step-up.ts'
import { inWords } from '../../answers/details.ts'
import type { Examination } from './examination.ts'
import { fail, pass, skip, warn, type Finding } from './finding.ts'

const TOKENS = 'api-tokens'
const KEYS = 'signing-keys'
const STEP_UP = 'step-up'

/** A key that nobody has used for this long is no longer needed, in milliseconds: the report counts for a day. */
const DAY_MS = 86_400_000

export async function examineOwner({ config }: Examination): Promise<Finding[]> {
  const { stateDir, stepUpUrl } = config
  const asksLogin = stepUpUrl !== undefined
  try {
    const { apiTokens } = (await ask(stateDir, 'list-api-tokens')) as {
      apiTokens: ListedApiToken[]
    }
    const { keys } = (await ask(stateDir, 'list-keys')) as { keys: KeyUse[] }
    const findings = [judgeTokens(apiTokens, Date.now()), judgeKeys(keys, Date.now())]
    if (!asksLogin) return findings
    const { refusals } = (await ask(stateDir, 'list-refusals')) as { refusals: RefusalView[] }
    return [...findings, judgeStepUp(refusals, config)]
  } catch (error) {
    if (!(error instanceof GatewayNotReachedError)) throw error
    return [TOKENS, KEYS, ...(asksLogin ? [STEP_UP] : [])].map((name) => skip(name, error.message))
  }
}

async function ask(stateDir: string, name: ActionName): Promise<unknown> {
  const { status, body } = await askAdmin(stateDir, OWNER_ACTIONS[name].path)
  if (status !== 200) throw new Error(`the admin socket answered ${status}`)
  return JSON.parse(body) as unknown
}

function judgeTokens(tokens: readonly ListedApiToken[], now: number): Finding {
  const { exposed, withoutEnd, neverUsed, unused } = tokenAdvice(tokens, now)
  const name = 'workspace-gateway api-token'
  if (exposed.length > 0)
    return fail(
      TOKENS,
      `in force, although others may have read them in an address: ${namesOf(exposed)}`,
      `"${name} rotate NAME --overlap 0" makes a new one and ends the old one; "${name} revoke NAME" ends one that was already replaced`,
    )
  const found = [
    { what: 'without expiry', which: withoutEnd },
    { what: 'never used', which: neverUsed },
    { what: 'not used for 90 days', which: unused },
  ].filter(({ which }) => which.length > 0)
  if (found.length === 0) return pass(TOKENS, 'none that deserves a look')
  return warn(
    TOKENS,
    found.map(({ what, which }) => `${what}: ${namesOf(which)}`).join('; '),
    `"${name} revoke NAME" ends those that nobody needs; rotating is no remedy for a missing expiry: make a new one with --ttl`,
  )
}

/** How many names one line has. */
const NAMED = 5

function namesOf(tokens: readonly ListedApiToken[]): string {
  const names = tokens.slice(0, NAMED).map(({ name }) => name)
  const more = tokens.length - names.length
  return `${names.join(', ')}${more > 0 ? ` and ${more} more` : ''}`
}

function judgeKeys(keys: readonly KeyUse[], now: number): Finding {
  const old = keys.filter(({ role }) => role === 'verifies')
  const idle = old.filter(
    ({ lastDay, openSessions, countedSince }) =>
      lastDay === 0 && openSessions === 0 && now - Date.parse(countedSince) >= DAY_MS,
  )
  if (idle.length > 0)
    return warn(
      KEYS,
      `nobody has used ${idle.map(({ kid }) => kid).join(', ')} for a day, and no session hangs on it`,
      'take the secret out of GATEWAY_JWT_PREVIOUS_SECRETS and send SIGHUP',
    )
  const uses = keys.map(
    ({ kid, role, openSessions, lastDay }) =>
      `${kid} ${role}: ${openSessions} sessions, ${lastDay} requests in the last day`,
  )
  return pass(KEYS, uses.join('; '))
}

/** Whether the login service says what GATEWAY_TERMINAL_AMR wants, as far as the refusals of late show. */
function judgeStepUp(
  refusals: readonly RefusalView[],
  { terminalAmr, terminalMaxAge }: Examination['config'],
): Finding {
  const [latest] = refusals.filter(({ reason }) => reason === CAME_BACK_REASON)
  if (latest === undefined)
    return pass(STEP_UP, 'nobody came back from GATEWAY_STEP_UP_URL without a factor lately')
  return warn(
    STEP_UP,
    `browsers come back from GATEWAY_STEP_UP_URL without a factor that counts, such as with request ${latest.id}`,
    `the login service must put one of ${terminalAmr.join(', ')} into amr, and an auth_time of the last ${inWords(terminalMaxAge)}; or set GATEWAY_TERMINAL_AMR and GATEWAY_TERMINAL_MAX_AGE to what it says`,
  )
}
