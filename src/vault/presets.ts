/**
 * What is known of well-known services? A preset for each: where the credential goes, what an agent may do unless the owner says
 * otherwise, and which environment variables the service's tools read.
 */
import type { Kind, Policy, Slot } from './policy.ts'

/** What the vault knows of a service before the owner says anything. */
export interface Preset {
  readonly origin: string
  readonly kind: Kind
  readonly slot: Slot
  /** The methods of an entry whose owner names none. Never all of them. */
  readonly methods: readonly string[]
  /** The path prefixes of an entry whose owner names none. Never `/`. Empty when the owner must name them. */
  readonly paths: readonly string[]
  /** Request headers of the service's tools that are forwarded besides those of the built-in list, in lower case. */
  readonly headers: readonly string[]
  /** The shape of a lease, with one hole: some tools refuse a key that does not begin as the service's own do. */
  readonly leaseShape: string
  /** The headers in which the service's tools send a key, in lower case. The lease is looked for there. */
  readonly presents: readonly string[]
  /** The variables with which the service's tools find the base URL and the key. */
  readonly environment: (baseUrl: string, token: string) => Readonly<Record<string, string>>
  /** Variables that would lead the tools past `environment`, such as a second key. They are taken out of a child's environment. */
  readonly conflicts: readonly string[]
  /** Addresses that git replaces with the base URL; undefined for what is no git server. */
  readonly gitAddresses?: readonly string[]
}

const BEARER: Slot = { header: 'authorization', template: 'Bearer {}' }

const GITHUB: Preset = {
  origin: 'https://api.github.com',
  kind: 'header',
  slot: BEARER,
  methods: ['GET', 'PATCH', 'POST'],
  // Without /user and /graphql: a POST there adds an SSH key or does anything at all.
  paths: ['/rate_limit', '/repos', '/search'],
  headers: ['x-github-api-version'],
  leaseShape: 'hvl_{}',
  presents: ['authorization'],
  // What GitHub Actions sets, and @actions/github and @octokit/action read.
  environment: (baseUrl, token) => ({
    GITHUB_API_URL: baseUrl,
    GITHUB_GRAPHQL_URL: `${baseUrl}/graphql`,
    GITHUB_TOKEN: token,
  }),
  // gh prefers it, and cannot be sent to an http address at all.
  conflicts: ['GH_TOKEN'],
}

const GITHUB_GIT: Preset = {
  origin: 'https://github.com',
  kind: 'basic',
  slot: { header: 'authorization', template: 'x-access-token:{}' },
  methods: ['GET', 'POST'],
  paths: [], // such as /acme or /acme/site.git: there is no prefix that is all of git and nothing else
  headers: ['content-encoding', 'git-protocol'],
  leaseShape: 'hvl_{}',
  presents: ['authorization'],
  environment: () => ({}),
  conflicts: [],
  gitAddresses: ['https://github.com/', 'git@github.com:', 'ssh://git@github.com/'],
}

const ANTHROPIC: Preset = {
  origin: 'https://api.anthropic.com',
  kind: 'header',
  slot: { header: 'x-api-key', template: '{}' },
  methods: ['GET', 'POST'],
  paths: ['/v1/messages', '/v1/models'],
  headers: ['anthropic-beta', 'anthropic-version'],
  leaseShape: 'sk-ant-hvl_{}',
  presents: ['authorization', 'x-api-key'],
  environment: (baseUrl, token) => ({ ANTHROPIC_BASE_URL: baseUrl, ANTHROPIC_API_KEY: token }),
  conflicts: ['ANTHROPIC_AUTH_TOKEN'],
}

const OPENAI: Preset = {
  origin: 'https://api.openai.com',
  kind: 'header',
  slot: BEARER,
  methods: ['GET', 'POST'],
  paths: ['/v1/chat/completions', '/v1/embeddings', '/v1/models', '/v1/responses'],
  headers: ['idempotency-key', 'openai-beta', 'openai-organization', 'openai-project'],
  leaseShape: 'sk-hvl_{}',
  presents: ['authorization'],
  environment: (baseUrl, token) => ({ OPENAI_BASE_URL: `${baseUrl}/v1`, OPENAI_API_KEY: token }),
  conflicts: [],
}

const SLACK: Preset = {
  origin: 'https://slack.com',
  kind: 'header',
  slot: BEARER,
  methods: ['GET', 'POST'],
  // Each method of Slack's is a segment of its own, so nothing of admin.* is among these.
  paths: [
    '/api/auth.test',
    '/api/chat.postMessage',
    '/api/chat.update',
    '/api/conversations.history',
    '/api/conversations.list',
    '/api/conversations.replies',
    '/api/reactions.add',
  ],
  headers: [],
  leaseShape: 'xoxb-hvl_{}',
  presents: ['authorization'],
  // Slack's own SDK reads neither: its documents pass both to the client, `{ slackApiUrl: process.env.SLACK_API_URL }`.
  environment: (baseUrl, token) => ({ SLACK_API_URL: `${baseUrl}/api/`, SLACK_BOT_TOKEN: token }),
  conflicts: [],
}

const GOOGLE: Preset = {
  origin: 'https://generativelanguage.googleapis.com',
  kind: 'header',
  slot: { header: 'x-goog-api-key', template: '{}' },
  methods: ['GET', 'POST'],
  paths: ['/v1/models', '/v1beta/models'],
  headers: ['x-goog-api-client'],
  leaseShape: 'AIzahvl_{}',
  presents: ['authorization', 'x-goog-api-key'],
  environment: (baseUrl, token) => ({ GOOGLE_GEMINI_BASE_URL: baseUrl, GEMINI_API_KEY: token }),
  // @google/genai prefers the first, and with the others it asks another service, with other credentials.
  conflicts: ['GOOGLE_API_KEY', 'GOOGLE_GENAI_USE_ENTERPRISE', 'GOOGLE_GENAI_USE_VERTEXAI'],
}

/** The presets, by the names of their services. */
export const PRESETS: Readonly<Record<string, Preset>> = {
  github: GITHUB,
  'github-git': GITHUB_GIT,
  anthropic: ANTHROPIC,
  openai: OPENAI,
  slack: SLACK,
  google: GOOGLE,
}

/**
 * The preset of an entry: that of its name, or of its name in another workspace; else the one with its origin, as for a second entry
 * `github-bot`.
 */
export function presetOf({
  service,
  origin,
  remote = service,
}: Pick<Policy, 'service' | 'origin' | 'remote'>): Preset | undefined {
  if (Object.hasOwn(PRESETS, remote)) return PRESETS[remote]
  return Object.values(PRESETS).find((preset) => preset.origin === origin)
}
