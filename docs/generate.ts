/** Which pages are written from the declarations? `npm run docs` writes them; test/drift.test.ts fails when they differ. */
import { writeFileSync } from 'node:fs'
import type { Setting } from '../src/config/setting.ts'
import { SETTINGS } from '../src/config/settings.ts'
import { EXPOSED_FIELDS } from '../src/http/browser.ts'
import { DETAILS, RETRY_SECONDS, serviceDetail } from '../src/answers/details.ts'
import { ERRORS, type ErrorCode } from '../src/answers/errors.ts'
import { METRICS } from '../src/observe/metrics.ts'
import { ROUTE_WORDS } from '../src/rules/site-map.ts'

/** When each code is answered, for people; the drift test wants one for every code. */
const WHEN: Readonly<Record<ErrorCode, string>> = {
  'bad-request':
    'The message is not HTTP as the gateway speaks it, a field came twice or contradicts another, or a trusted proxy sent garbage.',
  'bad-target':
    'The address has dot segments, a backslash, control characters, bad escapes or invalid UTF-8, or reads differently once decoded.',
  'sign-in-required': 'No credential came with the request.',
  'token-invalid': 'The token that decides is not ours, not for this workspace, or malformed.',
  'token-expired': 'The token that decides has expired.',
  'sensitive-file': 'The address, or a query value, names a file that is never served.',
  'origin-not-allowed':
    'A page of another origin tried to act with the session cookie, or to open a WebSocket.',
  'not-found':
    'A path below `/_gateway` that does not exist, or a prefetch of a page that is not the dashboard’s (empty body).',
  'method-not-allowed':
    'TRACE, CONNECT and unknown methods; a known one where it has no use (`Allow` tells).',
  'request-timeout': 'Headers took longer than 10 s, or a body came slower than 1 KiB/s for 30 s.',
  'body-too-large':
    'A sign-in form of more than 16 KiB, or a body without a length of more than 16 KiB for the terminal, which reads no chunks. Other bodies have no limit of ours.',
  'expectation-failed': '`Expect` is something other than `100-continue`.',
  'host-not-served':
    '`Host` is neither the public host, nor localhost, nor an IP literal, nor in `GATEWAY_ALLOWED_HOSTS`.',
  'upgrade-required': 'A WebSocket handshake of another version than 13.',
  'rate-limited':
    'The budget of the address, or of the session, is spent; `Retry-After` says for how long.',
  'headers-too-large': 'More than 16 KiB or 100 fields of headers.',
  'internal-error': 'A fault of the gateway; the log has it under the same request id.',
  'upstream-unreachable': 'The service refused the connection, broke it, or did not speak HTTP.',
  draining:
    'The gateway is stopping and takes no new WebSockets; `/health` and `/_gateway/ready` say so to probers.',
  'upstream-busy':
    'The service has 1,024 requests under way, or the session has too many WebSockets open.',
  'upstream-timeout': 'The service did not accept within 3 s, or did not begin its answer in time.',
}

/** docs/configuration.md */
export function configurationPage(): string {
  const rows = Object.values<Setting<unknown>>(SETTINGS).map(
    ({ env, secret, required, default: text, description, accepts }) =>
      `| \`${env}\`${secret ? `<br>\`${env}_FILE\`` : ''} | ${required ? '**required**' : text === undefined || text === '' ? '–' : `\`${text}\``} | ${cell(description)} Takes ${cell(accepts)}. |`,
  )
  return `${generatedFrom('src/config/settings.ts')}
# Configuration

Settings are environment variables. Every problem is reported at once, nothing listens, and the process exits with 78. An
unknown \`GATEWAY_…\` name is a problem, and so is an empty value: both are how guards get switched off by accident. A
secret can be given as a file instead, with \`_FILE\` behind its name; \`SIGHUP\` reads such files again, and a bad one
keeps what is in force. Secrets leave the process's environment once they were read, but the kernel still shows the
environment that a process was started with to its own user and root (\`/proc/<pid>/environ\`): files are the better way.

| name | default | |
| --- | --- | --- |
${rows.join('\n')}
`
}

/** docs/errors.md */
export function errorsPage(): string {
  const rows = Object.entries(ERRORS).map(
    ([code, { status, title }]) =>
      `| \`${code}\` | ${status} | ${title}. ${WHEN[code as ErrorCode]} | ${cell(DETAILS[code as ErrorCode])} |`,
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
which one it is: "${serviceDetail('upstream-unreachable', ROUTE_WORDS.terminal, RETRY_SECONDS['upstream-unreachable'])}" 429, 502, 503 and 504
carry \`Retry-After\`; a page that was asked for with GET tries again by itself after that time.

A page of an allowed origin (\`GATEWAY_ALLOWED_ORIGINS\`) can read every one of them, with these fields:
\`${EXPOSED_FIELDS}\`. Its preflights are neither counted nor refused for their number: a browser
shows a refused preflight to nobody, and the request that it asks for is counted.

| code | status | | \`detail\` |
| --- | --- | --- | --- |
${rows.join('\n')}
`
}

/** docs/metrics.md */
function metricsPage(): string {
  const rows = Object.entries(METRICS).map(
    ([name, { type, help }]) => `| \`${name}\` | ${type} | ${cell(help)} |`,
  )
  return `${generatedFrom('src/observe/metrics.ts')}
# What does it measure?

Prometheus reads these metrics in two places. No label names a person, an address or a path.

- The admin socket, for the gateway's user and root:
  \`curl --unix-socket /data/gateway/admin.sock http://localhost/metrics\`
- \`http://<private address>:<GATEWAY_METRICS_PORT>/metrics\`, when that setting is given: on the machine's address in
  \`fdaa::/16\`, or on \`127.0.0.1\` when it has none. There is no sign-in there.

| name | type | |
| --- | --- | --- |
${rows.join('\n')}
`
}

/** The generated pages by path. */
export const PAGES: Readonly<Record<string, () => string>> = {
  'docs/configuration.md': configurationPage,
  'docs/errors.md': errorsPage,
  'docs/metrics.md': metricsPage,
}

/** The first line of a generated page, for whoever opens it in order to edit it. */
function generatedFrom(source: string): string {
  return `<!-- Generated by npm run docs from ${source}; do not edit. -->\n`
}

function cell(text: string): string {
  return text.replaceAll('|', String.raw`\|`).replaceAll('<', '&lt;')
}

if (import.meta.main) for (const [path, page] of Object.entries(PAGES)) writeFileSync(path, page())
