/** Which pages are generated from the code? Those in PAGES, by `npm run docs`. test/drift.test.ts fails if they differ. */
import { writeFileSync } from 'node:fs'
import type { Setting } from '../src/config/setting.ts'
import { LINK_SETTINGS } from '../src/config/link-settings.ts'
import { LIMITS_SETTINGS } from '../src/config/limits-settings.ts'
import { RELAY_SETTINGS } from '../src/config/relay-settings.ts'
import { SETTINGS } from '../src/config/settings.ts'
import { TERMINALS_SETTINGS } from '../src/config/terminals-settings.ts'
import { VAULT_SETTINGS } from '../src/config/vault-settings.ts'
import { EXPOSED_FIELDS } from '../src/http/browser.ts'
import { DETAILS, serviceDetail } from '../src/answers/details.ts'
import { LIMITS_METRICS } from '../src/fleet/limits-metrics.ts'
import { LIMIT_ERRORS } from '../src/fleet/limit-errors.ts'
import { ERRORS, fixedRetryAfter, type ErrorCode, type RetryAfter } from '../src/answers/errors.ts'
import { SERVICE_NAMES, SERVICES, type ServiceRow } from '../src/rules/services.ts'
import { METRICS } from '../src/observe/metrics.ts'
import { RELAY_METRICS } from '../src/relay/server/relay-metrics.ts'
import type { Metric } from '../src/observe/exposition.ts'
import { ROUTE_WORDS } from '../src/rules/site-map.ts'

/** Builds docs/configuration.md. */
export function configurationPage(): string {
  return `${generatedFrom('src/config/settings.ts')}
# Configuration

Settings are environment variables. Every problem is reported at once, nothing listens, and the process exits with 78. An
unknown \`GATEWAY_…\` name is a problem, and so is an empty value: both are how guards get switched off by accident. A
secret can be given as a file instead, with \`_FILE\` behind its name; \`SIGHUP\` reads such files again, and a bad one
keeps what is in force. Secrets leave the process's environment once they were read, but the kernel still shows the
environment that a process was started with to its own user and root (\`/proc/<pid>/environ\`): files are the better way.

| name | default | |
| --- | --- | --- |
${settingRows(SETTINGS)}

## Of the keeper of terminals

\`workspace-gateway terminals\` ([terminals.md](terminals.md)) is a program of its own and reads these alone, from
\`src/config/terminals-settings.ts\`, by the same rules. None of them is a secret.

| name | default | |
| --- | --- | --- |
${settingRows(TERMINALS_SETTINGS)}

## Of the vault

\`workspace-gateway vault\` ([vault.md](vault.md)) is a program of its own and reads these alone, from
\`src/config/vault-settings.ts\`. An unknown \`VAULT_…\` name is a warning, because other programs use that prefix too.

| name | default | |
| --- | --- | --- |
${settingRows(VAULT_SETTINGS)}

## Of the relay server

\`workspace-gateway relay\` ([relay.md](relay.md)) is a program of its own and reads these alone, from
\`src/config/relay-settings.ts\`, by the rules of the gateway's. An unknown \`RELAY_…\` name is a problem.

| name | default | |
| --- | --- | --- |
${settingRows(RELAY_SETTINGS)}

## Of the link

\`workspace-gateway link\` ([relay.md](relay.md)) is a program of its own and reads these from
\`src/config/link-settings.ts\`, and of the gateway's \`GATEWAY_LINK_SOCKET\`, \`GATEWAY_WORKSPACE\` and
\`GATEWAY_DOMAIN\`. None of them is a secret.

| name | default | |
| --- | --- | --- |
${settingRows(LINK_SETTINGS)}

## Of the limits service

\`workspace-gateway limits\` ([limits.md](limits.md)) is a program of its own and reads these alone, from
\`src/config/limits-settings.ts\`, by the rules of the gateway's. An unknown \`LIMITS_…\` name is a problem, and so is a way in
for nobody: neither a token nor a socket.

| name | default | |
| --- | --- | --- |
${settingRows(LIMITS_SETTINGS)}
`
}

/** The rows of a table of settings. */
function settingRows(settings: Readonly<Record<string, Setting<unknown>>>): string {
  return Object.values(settings)
    .map(
      ({ env, secret, required, default: text, description, accepts }) =>
        `| \`${env}\`${secret ? `<br>\`${env}_FILE\`` : ''} | ${required ? '**required**' : text === undefined || text === '' ? '–' : `\`${text}\``} | ${cell(description)} Takes ${cell(accepts)}. |`,
    )
    .join('\n')
}

/** Builds docs/errors.md. */
export function errorsPage(): string {
  const rows = Object.entries(ERRORS).map(
    ([code, { status, title, when, ...row }]) =>
      `| \`${code}\` | ${status} | ${title} | ${cell(when)} | ${retryAfterCell(row)} | ${cell(DETAILS[code as ErrorCode])} |`,
  )
  const limitRows = Object.entries(LIMIT_ERRORS).map(
    ([code, { status, title, when }]) =>
      `| \`${code}\` | ${status} | ${title} | ${cell(when)} | ${limitRetryAfter(code, status)} |`,
  )
  return `${generatedFrom('src/answers/errors.ts')}
# Answers of the gateway's own

Every answer that the gateway makes itself carries \`X-Gateway-Error: <code>\`; an answer without it came from a service.
Programs get RFC 9457 \`application/problem+json\` with \`type\`, \`title\`, \`status\`, \`code\`, \`detail\` and
\`instance\`, the request id, which is also in \`X-Request-Id\` and in the log. A person's browser gets a page. Nothing of
the request is repeated in either, and no address, path or library text of ours. Codes are never used again for something
else.

\`detail\` says what was wrong and what to do, from fixed texts (\`src/answers/details.ts\`): the one below, or a more exact one.
\`bad-target\` says which rule the address broke, \`rate-limited\` how many seconds to wait, and an answer about a service
which one it is: "${serviceDetail('upstream-unreachable', ROUTE_WORDS.terminal, fixedRetryAfter('upstream-unreachable'))}" \`Retry-After\` is in
seconds; a page that was asked for with GET loads itself again after that time.

A page of an allowed origin (\`GATEWAY_ALLOWED_ORIGINS\`) can read every one of them, with these fields:
\`${EXPOSED_FIELDS}\`. Its preflights are neither counted nor refused for their number: a browser
shows a refused preflight to nobody, and the request that it asks for is counted.

| code | status | title | when a client gets it | \`Retry-After\` | \`detail\` |
| --- | --- | --- | --- | --- | --- |
${rows.join('\n')}

## Of the limits service

\`workspace-gateway limits\` ([limits.md](limits.md)) refuses with these, from \`src/fleet/limit-errors.ts\`: in the same form, with
\`X-Gateway-Error\`, and with \`type\` \`urn:workspace-gateway:limits:<code>\`. A code that is in the table above too means the same.
\`detail\` says what the service takes, and repeats nothing of the request.

| code | status | title | when a caller gets it | \`Retry-After\` |
| --- | --- | --- | --- | --- |
${limitRows.join('\n')}
`
}

/** Builds docs/services.md. */
export function servicesPage(): string {
  const rows = SERVICE_NAMES.map((name) => {
    const row: ServiceRow = SERVICES[name]
    const { words, address, isolated, doctor } = row
    const cells = [
      `\`${name}\``,
      words.replace(/^The /, ''),
      PATH_WORDS[row.claims](row.path) + STRIPPING_WORDS[String(row.stripsPath)],
      typeof address === 'string'
        ? `\`${OPTIONAL_ADDRESSES[address]}\``
        : `\`${address.env}\`<br>\`${address.default}\``,
      FORWARDING_WORDS[row.forwarding],
      UPGRADE_WORDS[row.upgrades],
      BUDGET_WORDS[row.budget],
      yesOrNo(row.serviceWorkers),
      isolated === 'when-stripped' ? 'while its path is taken off' : yesOrNo(isolated),
      yesOrNo(doctor !== undefined),
    ]
    return `| ${cells.join(' | ')} |`
  })
  return `${generatedFrom('src/rules/services.ts')}
# The services behind the gateway

The names are those of the log, of the metrics and of
\`GATEWAY_SESSION_ROUTES\`; the settings are in [configuration.md](configuration.md). Every request for a service is from
somebody who is signed in, but for \`/health\`, which the gateway answers itself. The vault is for other workspaces of the owner, which
need an API token: [vault.md](vault.md#sharing-with-another-workspace).

- **told**: which fields say who is calling.
- **budget**: which one a signed-in browser spends by default.
- **workers**: whether a browser may get a service worker from it.
- **isolated**: its responses cannot act as pages of the workspace, its cookies stay below its path, and no field of its
  speaks for the whole origin.
- **watched**: \`workspace-gateway doctor\`, \`/_gateway/ready\` and the status of the admin socket look at it. A
  program with two rows is watched once.

| name | | paths | setting, default | told | WebSockets | budget | workers | isolated | watched |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
${rows.join('\n')}
`
}

/** Builds docs/metrics.md. */
function metricsPage(): string {
  const rows = (metrics: Readonly<Record<string, Metric>>) =>
    Object.entries(metrics)
      .map(([name, { type, help }]) => `| \`${name}\` | ${type} | ${cell(help)} |`)
      .join('\n')
  return `${generatedFrom('src/observe/metrics.ts')}
# What does it measure?

Prometheus reads these metrics in two places. No label names a person, an address or a path.

- The admin socket, for the gateway's user and root:
  \`curl --unix-socket /data/gateway/admin.sock http://localhost/metrics\`
- \`http://<private address>:<GATEWAY_METRICS_PORT>/metrics\`, when that setting is given: on the machine's address in
  \`fdaa::/16\`, or on \`127.0.0.1\` when it has none. There is no sign-in there.

| name | type | |
| --- | --- | --- |
${rows(METRICS)}

## Of the relay server

\`http://<private address>:<RELAY_METRICS_PORT>/metrics\` of \`workspace-gateway relay\` ([relay.md](relay.md#the-relay-server)), from
\`src/relay/server/relay-metrics.ts\`. No label names a place, a daemon, a device or an address.

| name | type | |
| --- | --- | --- |
${rows(RELAY_METRICS)}

## Of the limits service

\`http://<private address>:<LIMITS_METRICS_PORT>/metrics\` of \`workspace-gateway limits\` ([limits.md](limits.md)), from
\`src/fleet/limits-metrics.ts\`. No label names a user, a grant or a caller. The metrics that begin with \`rate_limit_\` are those of
the gateway too, under the names of its own policies: one dashboard shows both.

| name | type | |
| --- | --- | --- |
${rows(LIMITS_METRICS)}
`
}

/** The settings of services that are there only when the setting is. */
const OPTIONAL_ADDRESSES = {
  vault: SETTINGS.vaultSockets.env,
  daemon: SETTINGS.daemonUrl.env,
} as const satisfies Record<Extract<ServiceRow['address'], string>, string>

const PATH_WORDS = {
  prefix: (path) => `\`${path}\`, \`${path}/*\``,
  exact: (path) => `\`${path}\``,
  vault: (path) => `\`${path}/*\`, when \`GATEWAY_VAULT_SOCKETS\` is set`,
  daemon: (path) => `\`${path}\`, \`${path}/*\`, when \`GATEWAY_DAEMON_URL\` is set`,
  'control-ui': () => 'those of `GATEWAY_CONTROL_UI`; none when it is not set',
  rest: () => '`/` and everything else',
} as const satisfies Record<ServiceRow['claims'], (path: string) => string>

const STRIPPING_WORDS: Readonly<Record<string, string>> = {
  false: '',
  true: ', taken off',
  'by-setting': ', taken off unless `GATEWAY_API_PREFIX=keep`',
}

const FORWARDING_WORDS = {
  full: '`X-Forwarded-*`, `X-Workspace`',
  'trusted-proxy': '`X-Forwarded-*`',
  none: 'nothing',
  openclaw: 'as `GATEWAY_OPENCLAW_MODE` says',
} as const satisfies Record<ServiceRow['forwarding'], string>

const UPGRADE_WORDS = {
  none: 'no',
  'signed-in': 'yes',
  ttyd: 'the one of ttyd’s page',
} as const satisfies Record<ServiceRow['upgrades'], string>

const BUDGET_WORDS = {
  session: 'the session’s',
  address: 'the address’s',
  none: 'none',
} as const satisfies Record<ServiceRow['budget'], string>

function yesOrNo(is: boolean): string {
  return is ? 'yes' : 'no'
}

/** The functions that build the generated pages, by path. */
export const PAGES: Readonly<Record<string, () => string>> = {
  'docs/configuration.md': configurationPage,
  'docs/errors.md': errorsPage,
  'docs/metrics.md': metricsPage,
  'docs/services.md': servicesPage,
}

/** The column `Retry-After` of one code. */
function retryAfterCell({ retryAfter }: { readonly retryAfter?: RetryAfter }): string {
  if (retryAfter === undefined) return 'none'
  if (typeof retryAfter === 'number') return `${retryAfter}`
  if ('computed' in retryAfter) return `computed: ${retryAfter.computed}`
  return `${retryAfter.request}; ${retryAfter.webSocket} for a WebSocket`
}

/** The same of the limits service. */
function limitRetryAfter(code: string, status: number): string {
  if (code === 'rate-limited') return 'computed: until every window has room'
  return status === 503 ? '1' : 'none'
}

/** The first line of a generated page, for whoever opens it in order to edit it. */
function generatedFrom(source: string): string {
  return `<!-- Generated by npm run docs from ${source}; do not edit. -->\n`
}

function cell(text: string): string {
  return text.replaceAll('|', String.raw`\|`).replaceAll('<', '&lt;')
}

if (import.meta.main) for (const [path, page] of Object.entries(PAGES)) writeFileSync(path, page())
