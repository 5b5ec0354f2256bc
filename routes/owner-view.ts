/** What does the owner's page look like? Sections of what the owner's actions return (src/admin/owner-actions.ts). */
import type { OwnFactorsView } from '../src/admin/own-factor-actions.ts'
import type { RefusalView } from '../src/admin/refusals.ts'
import type { SessionView } from '../src/admin/session-actions.ts'
import type { TerminalsAnswer, TerminalView } from '../src/admin/terminal-actions.ts'
import { KEEPER_AWAY_DETAIL } from '../src/answers/details.ts'
import { html, type Html } from '../src/answers/html.ts'
import {
  alert,
  hiddenFields,
  minuteOf,
  personOf,
  takenFrom,
  timeOf,
} from '../src/answers/pages/elements.ts'
import {
  APP_FORM,
  OWNERS_API,
  OWNER_PAGE,
  PASSKEY_FORM,
  RENEW,
  SIGN_OUT,
} from '../src/answers/pages/paths.ts'
import type { PageContent } from '../src/answers/pages/shell.ts'
import type { ListedApiToken } from '../src/identity/api-token-list.ts'
import { devicesSection, type DevicesPart } from './owner-devices-view.ts'
import { act, OPEN, rows, section, SELECTED } from './owner-pieces.ts'
import { vaultSection, type GrantFields, type VaultPart } from './owner-vault-view.ts'

/** Everything on the page. A part that the person may not see, or that does not answer, is undefined. */
export interface OwnerPageParts {
  readonly subject: string
  /** ISO 8601 */
  readonly expiresAt: string | null
  readonly isOwner: boolean
  /** The ones that were seen last; one more than {@link MAX_SHOWN} when there are more. */
  readonly sessions: readonly SessionView[] | undefined
  /** The newest ones that are not revoked; one more than {@link MAX_SHOWN} when there are more. */
  readonly apiTokens: readonly ListedApiToken[] | undefined
  readonly terminals: TerminalsAnswer | undefined
  readonly factors: OwnFactorsView | undefined
  /** Undefined also when there is no vault. */
  readonly vault: VaultPart | undefined
  /** Undefined also when there is no link. */
  readonly devices: DevicesPart | undefined
  readonly refusals: readonly RefusalView[] | undefined
  /** Whether each service is up, by its name. */
  readonly services: Readonly<Record<string, string>> | undefined
  /** What was done, in a sentence; undefined when nothing was. */
  readonly done: string | undefined
  /** What went wrong, in a sentence. */
  readonly problem: string | undefined
  /** The name of the form for a new token, or for a pairing link, so that it counts once. */
  readonly once: string
  /** What was typed into that form, when it is shown again. */
  readonly typed: TokenFields
  /** What was chosen in the form for a grant, when it is shown again. */
  readonly chosen: GrantFields
}

/** The fields of the form for a new token. */
export interface TokenFields {
  readonly name: string
  readonly scopes: readonly string[]
  readonly days: string
  /** Whether the form was sent, so that it is shown open. */
  readonly isSent: boolean
}

/** The scopes that the form offers; the command and the JSON API take finer ones. */
export const OFFERED_SCOPES = ['api', 'dashboard', 'chat', 'terminal', 'owner'] as const

/** For how many days the form offers a token. */
export const OFFERED_DAYS = ['7', '30', '90', '365'] as const

/** How many sessions and how many tokens the page shows. There may be 10,000 of each, and a row is half a kilobyte. */
export const MAX_SHOWN = 50

const STAY_LONGER = `${RENEW}?return_to=${OWNER_PAGE}`
const ALL_SESSIONS = `${OWNERS_API}/sessions`
const ALL_TOKENS = `${OWNERS_API}/api-tokens`

/** Builds the page. */
export function ownerPage(parts: OwnerPageParts): PageContent {
  const { subject, expiresAt, done, problem } = parts
  const until = expiresAt === null ? undefined : html`, until ${timeOf(expiresAt)}`
  return {
    title: 'Your account',
    layout: 'wide',
    bar: html`<nav aria-label="Workspace">
        <a href="/">Dashboard</a><a href="/terminal">Terminal</a
        ><a href="${OWNER_PAGE}" aria-current="page">Account</a>
      </nav>
      <form method="post" action="${SIGN_OUT}">
        <button class="quiet">Sign out</button>
      </form>`,
    main: html`<p>
        Signed in as ${personOf(subject)}${until}.
        <a href="${STAY_LONGER}">Stay signed in longer</a>
      </p>
      ${done === undefined ? undefined : html`<p class="done" role="status">${done}</p>`}${alert(problem)}
      ${servicesSection(parts)}${sessionsSection(parts)}${terminalsSection(parts)}${factorsSection(parts)}${tokensSection(parts)}${devicesSection(parts)}${vaultSection(parts)}${refusalsSection(parts)}`,
    scripts: ['comfort'],
  }
}

/** Builds the page that shows a secret once: a new token, or the password of the terminal. */
export function secretPage(
  title: string,
  words: string,
  secrets: ReadonlyArray<readonly [label: string, secret: string]>,
): PageContent {
  return {
    title,
    main: html`<p>${words}</p>
      ${secrets.map(
        ([label, secret], i) =>
          html`<p class="small soft">${label}</p>
            <code class="secret" id="secret-${i}">${secret}</code
            ><button type="button" class="quiet" data-copy="secret-${i}" hidden>Copy</button>`,
      )}
      <p><a class="button" href="${OWNER_PAGE}">Back to your account</a></p>`,
    scripts: ['comfort'],
  }
}

function servicesSection({ services }: OwnerPageParts): Html | undefined {
  if (services === undefined) return undefined
  const states = Object.entries(services).map(
    ([name, state]) =>
      html`<li>${name} <span class="badge ${state === 'up' ? 'good' : 'bad'}">${state}</span></li>`,
  )
  const list = html`<ul class="chips">
    ${states}
  </ul>`
  return section('services', 'What is up', list)
}

function sessionsSection({ sessions }: OwnerPageParts): Html | undefined {
  if (sessions === undefined) return undefined
  const others = sessions.some(({ current }) => !current)
  return section(
    'sessions',
    'Sessions',
    html`${rows(sessions.slice(0, MAX_SHOWN).map(sessionRow), 'Nobody is signed in.')}${sessions.length > MAX_SHOWN ? MORE_SESSIONS : undefined}`,
    others ? act('end-sessions', {}, 'End my other sessions') : undefined,
  )
}

/** How a session is called whose device is not known. */
const UNNAMED: Readonly<Record<SessionView['kind'], string>> = {
  browser: 'an unknown browser',
  device: 'a device',
  program: 'a program with a workspace token',
  'api-token': 'a program with an API token',
}

function sessionRow(session: SessionView): Html {
  const { id, sub, kind, device, address, createdAt, lastSeenAt, lastSeenFrom, sockets, current } =
    session
  const isPaired = kind === 'device'
  // A paired device chose its name, which could be the User-Agent of a browser.
  const known = device ?? UNNAMED[kind]
  const name = isPaired ? known : deviceName(known)
  const since = createdAt ?? lastSeenAt
  const spoken = `${name} of ${sub}${since === null ? '' : `, since ${minuteOf(since)}`}`
  return html`<li>
    <div>
      <p>
        <strong><bdi>${name}</bdi></strong>
        ${isPaired ? html`<span class="soft">paired device</span>` : undefined}
        ${current ? html`<span class="badge good">this one</span>` : undefined}
        <span class="soft">${personOf(sub)}</span>
      </p>
      <p class="small soft">
        ${address === null ? undefined : html`from ${address}, `}${createdAt === null ? undefined : html`since ${timeOf(createdAt)}, `}${lastSeenAt === null ? 'not seen yet' : html`last seen ${timeOf(lastSeenAt)}${lastSeenFrom === null || lastSeenFrom === address ? undefined : html` from ${lastSeenFrom}`}`}${sockets === 0 ? undefined : html`, ${sockets} open ${sockets === 1 ? 'connection' : 'connections'}`}
      </p>
    </div>
    <div class="acts">${current ? SIGN_OUT_HERE : act('end-session', { id }, 'End', spoken)}</div>
  </li>`
}

/** The part of a `User-Agent` that people know. */
function deviceName(agent: string): string {
  const browser = /(?:Edg|OPR|Firefox|Chrome|Safari)(?=\/)/.exec(agent)?.[0]
  const system = /Windows|Android|iPhone|iPad|Mac OS X|CrOS|Linux/.exec(agent)?.[0]
  if (browser === undefined || system === undefined) return agent.slice(0, 64)
  return `${{ Edg: 'Edge', OPR: 'Opera' }[browser] ?? browser} on ${system}`
}

function terminalsSection({ terminals, sessions }: OwnerPageParts): Html {
  if (terminals === undefined)
    return section('terminals', 'Terminals', html`<p class="alert">${KEEPER_AWAY_DETAIL}</p>`)
  const none =
    terminals.keeper === 'running'
      ? 'No terminal is open.'
      : 'Terminals are not kept here: each ends with its page.'
  const password =
    sessions === undefined
      ? undefined
      : act('show-terminal-password', {}, 'Show the password', 'of the terminal', 'quiet')
  return section(
    'terminals',
    'Terminals',
    rows(terminals.terminals.map(terminalRow), none),
    password,
  )
}

function terminalRow({ id, state, title, sub, since, waitsUntil, address }: TerminalView): Html {
  const name = title === '' ? 'Terminal' : title
  return html`<li>
    <div>
      <p>
        <strong>${name}</strong>
        <span class="badge ${state === 'attached' ? 'good' : 'warn'}">${state}</span>
        ${sub === null ? undefined : html`<span class="soft">${personOf(sub)}</span>`}
      </p>
      <p class="small soft">
        ${since === null ? undefined : html`since ${timeOf(since)}`}${waitsUntil === null ? undefined : html`, waits until ${timeOf(waitsUntil)}`}
      </p>
    </div>
    <div class="acts">
      ${address === null ? undefined : html`<a class="button quiet" href="${address}">Attach</a>`}${act('end-terminal', { id }, 'End', name)}
    </div>
  </li>`
}

function factorsSection({ factors }: OwnerPageParts): Html | undefined {
  if (factors?.kept !== true) return undefined
  const { totp, passkeys, backupCodes, lockedUntil, problems } = factors
  const next = { next: OWNER_PAGE }
  const app =
    totp === null
      ? []
      : [factorRow(totp.id, 'Authenticator app', totp.createdAt, totp.lastUsedAt, totp.problem)]
  const keys = passkeys.map(({ id, name, createdAt, lastUsedAt, counterFellAt }) =>
    factorRow(
      id,
      name,
      createdAt,
      lastUsedAt,
      counterFellAt === null ? null : 'counted less than before',
    ),
  )
  const codes =
    backupCodes === null
      ? []
      : [
          html`<li>
            <div>
              <p><strong>Backup codes</strong></p>
              <p class="small soft">${backupCodes.left} of 10 left</p>
            </div>
            <div class="acts">
              ${act('new-backup-codes', {}, 'Make new ones', 'backup codes', 'quiet')}
            </div>
          </li>`,
        ]
  const troubles = problems.map(
    ({ problem, detail }) =>
      html`<p class="alert">
        ${detail}
        ${problem === 'locked' && lockedUntil !== null ? takenFrom(lockedUntil) : undefined}
      </p>`,
  )
  const none = factors.enrolled
    ? 'None can be read.'
    : 'None is set up. With one, a stolen session is not enough for everything here.'
  const add = html`<div class="acts">
    <form method="post" action="${APP_FORM}">
      ${hiddenFields(next)}<button class="quiet">
        ${totp === null ? 'Add an authenticator app' : 'Replace the app'}
      </button>
    </form>
    <form method="post" action="${PASSKEY_FORM}">
      ${hiddenFields(next)}<button class="quiet">Add a passkey</button>
    </form>
  </div>`
  return section(
    'factors',
    'Second factor',
    html`${troubles}${rows([...app, ...keys, ...codes], none)}${add}`,
  )
}

function factorRow(
  id: string,
  name: string,
  createdAt: string | null,
  lastUsedAt: string | null,
  problem: string | null,
): Html {
  return html`<li>
    <div>
      <p>
        <strong>${name}</strong>
        ${problem === null ? undefined : html`<span class="badge bad">${problem}</span>`}
      </p>
      <p class="small soft">
        ${createdAt === null ? undefined : html`since ${timeOf(createdAt)}, `}${lastUsedAt === null ? 'never used' : html`last used ${timeOf(lastUsedAt)}`}
      </p>
    </div>
    <div class="acts">${act('remove-second-factor', { id }, 'Remove', name)}</div>
  </li>`
}

function tokensSection({ apiTokens, once, typed }: OwnerPageParts): Html | undefined {
  if (apiTokens === undefined) return undefined
  const scopes = OFFERED_SCOPES.map(
    (scope) =>
      html`<label
        ><input
          type="checkbox"
          name="scope"
          value="${scope}"
          ${typed.scopes.includes(scope) ? CHECKED : undefined}
        />${scope}</label
      >`,
  )
  const days = OFFERED_DAYS.map(
    (count) =>
      html`<option value="${count}" ${typed.days === count ? SELECTED : undefined}>
        ${count} days
      </option>`,
  )
  const form = html`<details ${typed.isSent ? OPEN : undefined}>
    <summary>Make a token</summary>
    <form method="post" action="${OWNER_PAGE}">
      ${hiddenFields({ act: 'create-api-token', once })}
      <label for="token-name">Name <small>(a to z, 0 to 9 and hyphens)</small></label>
      <input
        id="token-name"
        name="name"
        required
        maxlength="64"
        pattern="[a-z0-9][a-z0-9\\-]*"
        autocapitalize="none"
        spellcheck="false"
        value="${typed.name}"
      />
      <fieldset>
        <legend>What it may use</legend>
        <div class="choices">${scopes}</div>
      </fieldset>
      <label for="token-days">Valid for</label
      ><select id="token-days" name="days">
        ${days}
      </select>
      <p><button>Make the token</button></p>
    </form>
  </details>`
  return section(
    'tokens',
    'API tokens',
    html`${rows(apiTokens.slice(-MAX_SHOWN).map(tokenRow), 'There is none.')}${apiTokens.length > MAX_SHOWN ? MORE_TOKENS : undefined}${form}`,
  )
}

function tokenRow({
  id,
  name,
  last4,
  sub,
  scopes,
  expiresAt,
  lastUsedAt,
  lastUsedFrom,
  exposedAt,
}: ListedApiToken): Html {
  return html`<li>
    <div>
      <p>
        <strong>${name}</strong>
        <code>&hellip;${last4}</code>
        ${exposedAt === null ? undefined : html`<span class="badge bad">exposed</span>`}
        <span class="soft">${personOf(sub)}</span>
      </p>
      <p class="small soft">
        ${scopes.join(', ')};
        ${expiresAt === null ? 'without an end' : html`until ${timeOf(expiresAt)}`};
        ${lastUsedAt === null ? 'never used' : html`last used ${timeOf(lastUsedAt)}${lastUsedFrom === null ? undefined : html` from ${lastUsedFrom}`}`}
      </p>
    </div>
    <div class="acts">${act('revoke-api-token', { id }, 'Revoke', name)}</div>
  </li>`
}

function refusalsSection({ refusals }: OwnerPageParts): Html | undefined {
  if (refusals === undefined) return undefined
  const list = refusals.map(
    ({ id, time, client, method, path, status, code, reason }) =>
      html`<li>
        <div>
          <p>
            <strong>${status} ${code}</strong>
            <span class="soft">${method ?? '–'} ${path ?? '–'}</span>
          </p>
          <p class="small soft">
            ${timeOf(time)}${client === null ? undefined : html`, ${client}`}${reason === null ? undefined : html`: ${reason}`}
          </p>
        </div>
        <code class="small soft">${id}</code>
      </li>`,
  )
  const more = html`<p class="small soft">
    On the machine, <code>workspace-gateway explain ID</code> says more; the ID is the last line of
    each.
  </p>`
  return section(
    'refusals',
    'Refused lately',
    html`${rows(list, 'Nothing was refused.')}${list.length === 0 ? undefined : more}`,
  )
}

/** Not the act that ends a session: signing out also takes the cookie. */
const SIGN_OUT_HERE = html`<form method="post" action="${SIGN_OUT}">
  <button class="danger">Sign out here</button>
</form>`

const MORE_SESSIONS = html`<p>
  These are the ${MAX_SHOWN} that were seen last.
  <a href="${ALL_SESSIONS}">All of them, as JSON</a>
</p>`

const MORE_TOKENS = html`<p>
  These are the ${MAX_SHOWN} newest.
  <a href="${ALL_TOKENS}">All of them, as JSON</a>
</p>`

const CHECKED = html`checked`
