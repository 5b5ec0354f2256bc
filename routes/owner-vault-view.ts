/** What does an owner see of the vault on their page? Entries with their grants, a form for a new one, and who used what last. */
import type { VaultAccessView, VaultEntryView, VaultView } from '../src/admin/vault-actions.ts'
import { html, type Html } from '../src/answers/html.ts'
import { hiddenFields, timeOf } from '../src/answers/pages/elements.ts'
import { OWNERS_API, OWNER_PAGE } from '../src/answers/pages/paths.ts'
import { act, OPEN, rows, section, SELECTED } from './owner-pieces.ts'

/** The vault, or why it cannot be shown. */
export type VaultPart = VaultView | { readonly problem: string }

/** The fields of the form for a grant. */
export interface GrantFields {
  readonly service: string
  readonly agent: string
  /** Whether the form was sent, so that it is shown open. */
  readonly isSent: boolean
}

/** How many entries the page shows. The vault may have 1,000. */
const MAX_ENTRIES = 50

/**
 * How many pairs of agent and service the page shows that have a use, and how many that have refusals alone. They are counted apart,
 * because an agent is refused under any name that it makes up, and could hide what was used behind such names.
 */
const MAX_ACCESSES = 20

/** How many paths of an entry the page shows. */
const MAX_PATHS = 4

const ALL_OF_IT = `${OWNERS_API}/vault`

/** Builds the section; nothing where there is no vault, or the person may not see it. */
export function vaultSection({
  vault,
  chosen,
}: {
  readonly vault: VaultPart | undefined
  readonly chosen: GrantFields
}): Html | undefined {
  if (vault === undefined) return undefined
  if ('problem' in vault)
    return section('vault', 'Vault', html`<p class="alert">${vault.problem}</p>`)
  const { entries, accesses, since } = vault
  const used = accesses.filter(({ uses }) => uses > 0)
  const refused = accesses.filter(({ uses }) => uses === 0)
  const longest = Math.max(used.length, refused.length)
  const isMore = entries.length > MAX_ENTRIES || longest > MAX_ACCESSES
  const shown = [...used.slice(0, MAX_ACCESSES), ...refused.slice(0, MAX_ACCESSES)]
  return section(
    'vault',
    'Vault',
    html`${rows(entries.slice(0, MAX_ENTRIES).map(entryRow), NO_ENTRY)}${grantForm(vault, chosen)}
      <h3>Last used</h3>
      ${rows(shown.map(accessRow), 'No agent has used an entry.')}
      <p class="small soft">Counted since ${timeOf(since)}.</p>
      ${isMore ? MORE : undefined}`,
  )
}

const NO_ENTRY = 'There is no entry. On the machine, “workspace-gateway vault add” makes one.'

const MORE = html`<p>
  These are the first ${MAX_ENTRIES} entries, and the ${MAX_ACCESSES} uses and ${MAX_ACCESSES}
  refusals that were last.
  <a href="${ALL_OF_IT}">All of them, as JSON</a>
</p>`

function entryRow({
  service,
  host,
  methods,
  paths,
  grants,
  suspended,
  note,
}: VaultEntryView): Html {
  const more = paths.length > MAX_PATHS ? `, and ${paths.length - MAX_PATHS} more` : ''
  const buttons = grants.map((agent) =>
    act('revoke-vault-grant', { service, agent }, `Revoke ${agent}`, service),
  )
  return html`<li>
    <div>
      <p>
        <strong>${service}</strong> <span class="soft">${host}</span>
        ${suspended ? html`<span class="badge bad">suspended</span>` : undefined}
      </p>
      <p class="small soft">
        ${methods.join(', ')};
        ${paths.slice(0, MAX_PATHS).join(', ')}${more}${note === '' ? undefined : html`; <bdi>${note}</bdi>`}
      </p>
      ${grants.length === 0 ? html`<p class="small">No agent may use it.</p>` : undefined}
    </div>
    ${grants.length === 0 ? undefined : html`<div class="acts">${buttons}</div>`}
  </li>`
}

function grantForm({ entries, agents }: VaultView, chosen: GrantFields): Html | undefined {
  if (entries.length === 0) return undefined
  if (agents.length === 0)
    return html`<p class="small soft">The vault has no agent (VAULT_AGENTS).</p>`
  const services = entries.map(({ service }) => service)
  return html`<details ${chosen.isSent ? OPEN : undefined}>
    <summary>Grant an agent</summary>
    <form method="post" action="${OWNER_PAGE}">
      ${hiddenFields({ act: 'grant-vault' })}
      <label for="vault-service">Service</label>
      <select id="vault-service" name="service">
        ${options(services, chosen.service)}
      </select>
      <label for="vault-agent">Agent that may use it</label>
      <select id="vault-agent" name="agent">
        ${options(agents, chosen.agent)}
      </select>
      <p><button>Grant</button></p>
    </form>
  </details>`
}

function options(values: readonly string[], chosen: string): readonly Html[] {
  return values.map(
    (value) =>
      html`<option value="${value}" ${value === chosen ? SELECTED : undefined}>${value}</option>`,
  )
}

function accessRow({
  agent,
  service,
  uses,
  refusals,
  lastUse,
  lastRefusal,
}: VaultAccessView): Html {
  return html`<li>
    <div>
      <p>
        <strong>${agent}</strong> <span class="soft">${service}</span>
        ${refusals === 0 ? undefined : html`<span class="badge warn">${counted(refusals, 'refusal')}</span>`}
      </p>
      <p class="small soft">
        ${lastUse === null ? 'Never used' : html`${timeOf(lastUse.time)}: ${lastUse.method} ${lastUse.path}, ${endOf(lastUse)}; ${counted(uses, 'use')}`}${lastRefusal === null ? undefined : html`. Refused ${timeOf(lastRefusal.time)}: ${lastRefusal.reason}`}
      </p>
    </div>
  </li>`
}

/** How a use ended: the status of the answer, and the reason where it was not the usual end. */
function endOf({ status, reason }: NonNullable<VaultAccessView['lastUse']>): string {
  if (reason === null) return 'under way'
  if (status === null) return reason
  return reason === 'done' ? String(status) : `${status} ${reason}`
}

function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`
}
