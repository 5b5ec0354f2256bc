/** Which settings are there? Those in SETTINGS, each declared once (contract, section 9). */
import { parseHostRule } from '../rules/host.ts'
import { parseFilePattern } from '../rules/sensitive.ts'
import {
  ADDRESS_SETTINGS,
  COUNTED_SERVICES,
  SERVICE_NAMES,
  SERVICES,
  type AddressKey,
} from '../rules/services.ts'
import {
  listOf,
  oneOf,
  optional,
  required,
  trueOrFalse,
  wholeNumber,
  withDefault,
  type Setting,
} from './setting.ts'
import {
  MAX_PREVIOUS_SECRETS,
  parseAbsolutePath,
  parseBearerToken,
  parseDomain,
  parseDoorsFolder,
  parseHandedOverSocket,
  parseListenHost,
  parseMethodReference,
  parseOrigin,
  parsePath,
  parsePrefix,
  parsePreviousSecrets,
  parseSecret,
  parseSubject,
  parseServiceRoute,
  parseServiceUrl,
  parseSocketPath,
  parseTrustedProxies,
  parseWebUrl,
  parseWorkspace,
  type ServiceAddress,
} from './values.ts'

/** Where each service listens: a setting for each address of src/rules/services.ts. */
const serviceAddresses = Object.fromEntries(
  ADDRESS_SETTINGS.map(({ key, env, default: url, description }) => [
    key,
    withDefault(url, {
      env,
      description,
      accepts: 'http://host:port or unix:/path',
      parse: parseServiceUrl,
    }),
  ]),
) as Record<AddressKey, Setting<ServiceAddress>>

/** A list of routes that have a service. An empty list is written `none`, because an empty variable is always an error. */
const routeList = {
  accepts: `a comma-separated list of ${COUNTED_SERVICES.slice(0, -1).join(', ')} and ${COUNTED_SERVICES.at(-1)}; or none`,
  parse: (text: string) => (text === 'none' ? [] : listOf(parseServiceRoute)(text)),
}

/** The services on which a signed-in browser spends its session's budget unless a setting says otherwise. */
const SESSION_ROUTES = SERVICE_NAMES.filter((name) => SERVICES[name].budget === 'session').join(',')

/** The declarations of all settings, by their names in the code. */
export const SETTINGS = {
  workspace: required({
    env: 'GATEWAY_WORKSPACE',
    description:
      "The workspace's name. Tokens must carry it as their audience, and the public host is <workspace>.<domain>.",
    accepts: '3 to 30 lower-case letters, digits and hyphens, not starting with a hyphen',
    parse: parseWorkspace,
  }),
  domain: withDefault('hubify.com', {
    env: 'GATEWAY_DOMAIN',
    description: 'The domain that the workspace is a subdomain of.',
    accepts: 'a domain name',
    parse: parseDomain,
  }),
  jwtSecret: required({
    env: 'GATEWAY_JWT_SECRET',
    description:
      'The HMAC secret that workspace tokens are signed with (HS256). Unique to this workspace.',
    accepts: 'at least 32 bytes, no placeholder',
    parse: parseSecret,
    secret: true,
  }),
  jwtPreviousSecrets: withDefault('', {
    env: 'GATEWAY_JWT_PREVIOUS_SECRETS',
    description:
      'Secrets that still verify, but no longer sign, while a rotation lasts. An empty file means none.',
    accepts: `a comma-separated list of at most ${MAX_PREVIOUS_SECRETS} secrets, each of at least 32 bytes`,
    parse: parsePreviousSecrets,
    secret: true,
  }),
  jwtIssuer: optional({
    env: 'GATEWAY_JWT_ISSUER',
    description: 'The issuer that tokens must name. Not checked when not set.',
    accepts: 'any text',
    parse: (text) => text,
  }),
  jwtLeewaySeconds: withDefault('30', {
    env: 'GATEWAY_JWT_LEEWAY_SECONDS',
    description: 'The clock skew allowed on exp and nbf, in seconds.',
    ...wholeNumber(0, 120),
  }),
  owners: withDefault('', {
    env: 'GATEWAY_OWNERS',
    description:
      'Who may see and end the sessions of others, and manage API tokens: the sub of each. Everybody who may sign in when not set.',
    accepts: 'a comma-separated list of subjects',
    parse: (text) => (text === '' ? [] : listOf(parseSubject)(text)),
  }),
  sessionMaxSeconds: withDefault('2592000', {
    env: 'GATEWAY_SESSION_MAX_SECONDS',
    description:
      'The longest time from when a person proved who they are to the end of the session, in seconds, whatever the login service says.',
    ...wholeNumber(60, 34_560_000),
  }),
  host: withDefault('::', {
    env: 'GATEWAY_HOST',
    description: 'The address to listen on. :: is every address, IPv4 included.',
    accepts: 'an address or a host name',
    parse: parseListenHost,
  }),
  port: withDefault('80', {
    env: 'GATEWAY_PORT',
    description: 'The TCP port to listen on. 0 takes a free one.',
    ...wholeNumber(0, 65_535),
  }),
  socket: optional({
    env: 'GATEWAY_SOCKET',
    description: 'A Unix socket to listen on instead of a port. It is created with mode 600.',
    accepts: 'an absolute path',
    parse: parseSocketPath,
  }),
  ...serviceAddresses,
  daemonUrl: optional({
    env: 'GATEWAY_DAEMON_URL',
    description:
      "Where Hubcode's daemon listens, such as http://127.0.0.1:6767. Then signed-in people and programs reach it below /_code/; without it there is no such route.",
    accepts: 'http://host:port or unix:/path',
    parse: parseServiceUrl,
  }),
  openclawToken: optional({
    env: 'GATEWAY_OPENCLAW_TOKEN',
    description:
      "OpenClaw's own token, sent to it as a Bearer unless the client brought one of OpenClaw's. Never sent to a client.",
    accepts: 'printable ASCII without spaces',
    parse: parseBearerToken,
    secret: true,
  }),
  apiPrefix: withDefault('strip', {
    env: 'GATEWAY_API_PREFIX',
    description: 'Whether /api is taken off before a request reaches OpenClaw.',
    ...oneOf('strip', 'keep'),
  }),
  controlUi: optional({
    env: 'GATEWAY_CONTROL_UI',
    description:
      "Where OpenClaw's control UI is reached, the same as its controlUi.basePath. Off when not set.",
    accepts: 'a path such as /chat',
    parse: parsePrefix,
  }),
  openclawMode: withDefault('local', {
    env: 'GATEWAY_OPENCLAW_MODE',
    description:
      'What OpenClaw is told about the caller: nothing (local), or who it is (trusted-proxy).',
    ...oneOf('local', 'trusted-proxy'),
  }),
  healthStrict: withDefault('false', {
    env: 'GATEWAY_HEALTH_STRICT',
    description:
      'Whether /health fails when the stats server does not answer, which makes Caddy take the workspace away.',
    ...trueOrFalse,
  }),
  loginUrl: optional({
    env: 'GATEWAY_LOGIN_URL',
    description:
      'Where a signed-out browser is sent, with the address to come back to in return_to. A built-in page when not set.',
    accepts: 'an http(s) URL',
    parse: parseWebUrl,
  }),
  secondFactor: withDefault('off', {
    env: 'GATEWAY_SECOND_FACTOR',
    description:
      'Whether second factors (an authenticator app, passkeys, backup codes) are kept here. Without it only what the login service says in the token counts.',
    ...oneOf('off', 'local'),
  }),
  terminalAmr: withDefault('', {
    env: 'GATEWAY_TERMINAL_AMR',
    description:
      'The values of amr (RFC 8176) with which a token of the login service opens the terminal; one suffices. Not asked when not set.',
    accepts: 'a comma-separated list such as otp,hwk,mfa',
    parse: (text) => (text === '' ? [] : listOf(parseMethodReference)(text)),
  }),
  terminalMaxAge: withDefault('43200', {
    env: 'GATEWAY_TERMINAL_MAX_AGE',
    description:
      'How long that proof, or a factor that was shown here, opens the terminal, in seconds. An open terminal is not ended by it.',
    ...wholeNumber(60, 34_560_000),
  }),
  stepUpRoutes: withDefault('terminal', {
    env: 'GATEWAY_STEP_UP_ROUTES',
    description: 'The routes that want it.',
    ...routeList,
  }),
  stepUpUrl: optional({
    env: 'GATEWAY_STEP_UP_URL',
    description:
      'Where a browser without it is sent, with the address to come back to in return_to. A page of the gateway when not set.',
    accepts: 'an http(s) URL',
    parse: parseWebUrl,
  }),
  trustedProxies: withDefault('loopback,fdaa::/16', {
    env: 'GATEWAY_TRUSTED_PROXIES',
    description:
      "Whose X-Forwarded-For and X-Forwarded-Proto are believed; more than 32 entries of theirs are refused. fdaa::/16 is Fly's private network.",
    accepts:
      'a comma-separated list of addresses, CIDRs, loopback, linklocal and uniquelocal; or none',
    parse: parseTrustedProxies,
  }),
  allowedHosts: withDefault('', {
    env: 'GATEWAY_ALLOWED_HOSTS',
    description: 'Hosts that are served besides the public one, localhost and IP literals.',
    accepts:
      'a comma-separated list of hosts, .domain for a domain and its subdomains, or * for any',
    parse: (text) => (text === '' ? [] : listOf(parseHostRule)(text)),
  }),
  allowedOrigins: withDefault('', {
    env: 'GATEWAY_ALLOWED_ORIGINS',
    description:
      'Foreign origins whose pages may use this workspace with the session cookie (CORS, forms, WebSockets).',
    accepts: 'a comma-separated list of exact origins such as https://app.example.com',
    parse: (text) => (text === '' ? [] : listOf(parseOrigin)(text)),
  }),
  rateLimit: withDefault('10', {
    env: 'GATEWAY_RATE_LIMIT',
    description: 'Requests that one client address may make in a window.',
    ...wholeNumber(1, 1_000_000_000),
  }),
  rateLimitSeconds: withDefault('60', {
    env: 'GATEWAY_RATE_LIMIT_SECONDS',
    description: 'The length of the window, in seconds.',
    ...wholeNumber(1, 86_400),
  }),
  sessionRateLimit: withDefault('600', {
    env: 'GATEWAY_SESSION_RATE_LIMIT',
    description:
      'Requests that one session may make in a window, where it has a budget of its own.',
    ...wholeNumber(1, 1_000_000_000),
  }),
  sessionRoutes: withDefault(SESSION_ROUTES, {
    env: 'GATEWAY_SESSION_ROUTES',
    description:
      "The routes on which a signed-in browser spends its session's budget instead of its address's. With none, the address's limit holds literally for everybody.",
    ...routeList,
  }),
  programRoutes: withDefault('none', {
    env: 'GATEWAY_PROGRAM_ROUTES',
    description:
      "The routes on which a program (a Bearer token, X-Workspace-Token) spends its session's budget instead of its address's.",
    ...routeList,
  }),
  sensitiveFiles: withDefault('', {
    env: 'GATEWAY_SENSITIVE_FILES',
    description:
      'File names that are refused besides the built-in ones; * stands for any characters.',
    accepts: 'a comma-separated list of file names such as id_rsa or *.pem',
    parse: (text) => (text === '' ? [] : listOf(parseFilePattern)(text)),
  }),
  stateDir: withDefault('/data/gateway', {
    env: 'GATEWAY_STATE_DIR',
    description: 'The folder for what must survive a restart. It is created with mode 700.',
    accepts: 'an absolute path, or one below the working directory',
    parse: parsePath,
  }),
  vaultSockets: optional({
    env: 'GATEWAY_VAULT_SOCKETS',
    description:
      "The folder of the vault's doors, as its own VAULT_SOCKETS says. Without it the gateway does not know of a vault.",
    accepts: 'an absolute path that leaves room for the names of the sockets',
    parse: parseDoorsFolder,
  }),
  linkSocket: optional({
    env: 'GATEWAY_LINK_SOCKET',
    description:
      'A Unix socket on which the link hands over the requests of paired devices. It is created with mode 600, and whoever can open it can speak for any device.',
    accepts: 'an absolute path of at most 95 bytes',
    parse: parseHandedOverSocket,
  }),
  linkOwnerSocket: optional({
    env: 'GATEWAY_LINK_OWNER_SOCKET',
    description:
      "The owner's door of the link, as its own LINK_OWNER_SOCKET says. Without it the gateway's pages do not show devices.",
    accepts: 'an absolute path',
    parse: parseSocketPath,
  }),
  pidFile: optional({
    env: 'GATEWAY_PID_FILE',
    description: 'A file that holds the process id while the gateway listens.',
    accepts: 'an absolute path',
    parse: parseAbsolutePath,
  }),
  hotRestart: withDefault('false', {
    env: 'GATEWAY_HOT_RESTART',
    description:
      'Whether SIGUSR2 replaces the gateway by a new process without refusing a connection. A second, small process then keeps the port and the process id.',
    ...trueOrFalse,
  }),
  drainSeconds: withDefault('4', {
    env: 'GATEWAY_DRAIN_SECONDS',
    description: 'How long requests in flight may take to finish after SIGTERM, in seconds.',
    ...wholeNumber(0, 3600),
  }),
  firstByteSeconds: withDefault('900', {
    env: 'GATEWAY_FIRST_BYTE_SECONDS',
    description:
      'How long a service may take to begin its answer, in seconds. A non-streamed agent run sends nothing for minutes.',
    ...wholeNumber(1, 86_400),
  }),
  idleSeconds: withDefault('900', {
    env: 'GATEWAY_IDLE_SECONDS',
    description:
      'How long a service may pause within an answer, in seconds. Never applies to event streams and WebSockets.',
    ...wholeNumber(1, 86_400),
  }),
  metricsPort: optional({
    env: 'GATEWAY_METRICS_PORT',
    description:
      "The port for Prometheus, GET /metrics, on the machine's fdaa:: address, or on 127.0.0.1 when it has none. Off when not set; the admin socket has the same.",
    ...wholeNumber(1, 65_535),
  }),
  notifyFd: optional({
    env: 'GATEWAY_NOTIFY_FD',
    description:
      "The pipe on which s6 waits to hear that the gateway listens: the number in the service's notification-fd.",
    ...wholeNumber(3, 1023),
  }),
  logProbes: withDefault('false', {
    env: 'GATEWAY_LOG_PROBES',
    description:
      'Whether probes of /health, /_gateway/live and /_gateway/ready that succeeded are logged, and known to explain. Failed ones always are, and a flood of them is summed up.',
    ...trueOrFalse,
  }),
  logRefusals: withDefault('summed', {
    env: 'GATEWAY_LOG_REFUSALS',
    description:
      'How refusals of a client past its limit, refusals at /health and bytes that are no request are logged: summed, in one line a second for each client and kind of refusal, or each of them.',
    ...oneOf('summed', 'each'),
  }),
  logLevel: withDefault('info', {
    env: 'GATEWAY_LOG_LEVEL',
    description: 'The least severe log line that is written. Request lines are info.',
    ...oneOf('trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'),
  }),
} as const satisfies Record<string, Setting<unknown>>

/** The values of all settings: parsed, complete and frozen. */
export type Config = {
  readonly [Name in keyof typeof SETTINGS]: ReturnType<(typeof SETTINGS)[Name]['parse']>
}
