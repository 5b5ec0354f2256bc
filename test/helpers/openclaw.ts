/**
 * Which clients does OpenClaw accept? This stand-in has its rules, because the real one takes 20 s and 1.2 GiB to start. The
 * rows below were observed on the real OpenClaw, and test/neighbours checks all of them against it.
 */
import type { IncomingHttpHeaders } from 'node:http'
import { BlockList, isIP } from 'node:net'
import type { Test } from 'tap'
import { startUpstream, switchingProtocols, type Upstream } from './upstream.ts'

/** OpenClaw's modes. examples/fly has a configuration file for each. */
export type OpenClawMode = 'local' | 'trusted-proxy'

/** OpenClaw's own token in local mode, and the token of its webhooks. */
export const OPENCLAW_TOKEN = 'openclaw-own-token-0815-0815'
export const HOOK_TOKEN = 'openclaw-hook-token-4711-4711'

const RIGHT = { authorization: `Bearer ${OPENCLAW_TOKEN}` }
const PROXIED = {
  'x-forwarded-for': '203.0.113.9',
  'x-forwarded-proto': 'https',
  'x-forwarded-host': 'houston.hubify.com',
}
const KNOWN = { ...PROXIED, 'x-forwarded-user': 'alice' }

/** OpenClaw's status for a `GET` with these headers, sent from 127.0.0.1. */
export const RULES: ReadonlyArray<
  readonly [mode: OpenClawMode, path: string, headers: Record<string, string>, status: number]
> = [
  ['local', '/v1/models', RIGHT, 200],
  ['local', '/v1/models', { ...RIGHT, via: '2.0 Caddy' }, 200],
  ['local', '/v1/models', { ...RIGHT, 'x-forwarded-for': '203.0.113.9' }, 403],
  ['local', '/v1/models', { ...RIGHT, 'x-forwarded-proto': 'https' }, 403],
  ['local', '/v1/models', { ...RIGHT, 'x-forwarded-user': 'alice' }, 403],
  ['local', '/v1/models', { ...RIGHT, 'x-real-ip': '203.0.113.9' }, 403],
  ['local', '/v1/models', { ...RIGHT, forwarded: 'for=203.0.113.9' }, 403],
  ['local', '/v1/models', { ...RIGHT, 'tailscale-user-login': 'alice' }, 403],
  ['local', '/v1/models', {}, 401],
  ['local', '/v1/models', { authorization: 'Bearer another' }, 401],
  ['local', '/readyz', {}, 200],
  ['local', '/readyz', PROXIED, 403],
  ['local', '/health', PROXIED, 200],
  ['trusted-proxy', '/v1/models', KNOWN, 200],
  ['trusted-proxy', '/v1/models', { ...KNOWN, authorization: 'Bearer another' }, 200],
  ['trusted-proxy', '/v1/models', { ...KNOWN, 'x-forwarded-for': '2001:db8::7' }, 200],
  ['trusted-proxy', '/v1/models', { ...KNOWN, 'x-forwarded-for': '10.1.2.3' }, 200],
  ['trusted-proxy', '/v1/models', { ...KNOWN, 'x-forwarded-for': '203.0.113.9, 127.0.0.1' }, 200],
  ['trusted-proxy', '/v1/models', { ...KNOWN, 'x-forwarded-for': '127.0.0.1' }, 403],
  ['trusted-proxy', '/v1/models', { ...KNOWN, 'x-forwarded-for': '::1' }, 403],
  ['trusted-proxy', '/v1/models', { ...KNOWN, 'x-forwarded-for': 'unknown' }, 403],
  ['trusted-proxy', '/v1/models', { 'x-forwarded-user': 'alice' }, 403],
  ['trusted-proxy', '/v1/models', PROXIED, 401],
  ['trusted-proxy', '/v1/models', { ...KNOWN, 'x-forwarded-user': ' ' }, 401],
  ['trusted-proxy', '/v1/models', { ...KNOWN, 'x-forwarded-host': '' }, 401],
  ['trusted-proxy', '/v1/models', {}, 401],
  ['trusted-proxy', '/readyz', PROXIED, 200],
  ['trusted-proxy', '/health', { 'x-forwarded-for': '127.0.0.1' }, 200],
]

/** Starts a service on a free port that responds, and accepts upgrades, by these rules. */
export async function startOpenClawStandIn(t: Test, mode: OpenClawMode): Promise<Upstream> {
  return await startUpstream(
    t,
    ({ url = '', headers }, response) => {
      const status = statusFor(mode, url, headers)
      response.writeHead(status, { 'Content-Type': 'application/json' }).end(BODIES[status] ?? '{}')
    },
    (request, socket) => {
      // A WebSocket client sends its token in a message, so the handshake is checked only for its origin.
      const status = originOf(mode, request.headers) === 'unattributable' ? 403 : 101
      if (status === 101) socket.write(switchingProtocols(request))
      else socket.end(`HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`)
    },
  )
}

const BODIES: Record<number, string> = {
  403: '{"error":{"type":"proxy_attribution_required"}}',
  401: '{"error":{"type":"unauthorized"}}',
}

function statusFor(mode: OpenClawMode, path: string, headers: IncomingHttpHeaders): number {
  if (path === '/health' || path === '/healthz') return 200
  const origin = originOf(mode, headers)
  if (origin === 'unattributable') return 403
  if (path === '/readyz') return 200
  const bearer = /^Bearer (.*)$/.exec(headers.authorization ?? '')?.[1]
  if (path.startsWith('/hooks/')) {
    const said = bearer ?? headers['x-openclaw-token']
    return said === HOOK_TOKEN ? 200 : 401
  }
  if (mode === 'local') return bearer === OPENCLAW_TOKEN ? 200 : 401
  const isComplete = ['x-forwarded-proto', 'x-forwarded-host', 'x-forwarded-user'].every(
    (name) => headers[name]?.toString().trim() !== '' && headers[name] !== undefined,
  )
  return origin === 'proxied' && isComplete ? 200 : 401
}

const LOOPBACK = new BlockList()
LOOPBACK.addSubnet('127.0.0.0', 8, 'ipv4')
LOOPBACK.addAddress('::1', 'ipv6')

/** The origin of a request: this machine, a client that the trusted proxy reports, or a client without a trusted report. */
function originOf(
  mode: OpenClawMode,
  headers: IncomingHttpHeaders,
): 'local' | 'proxied' | 'unattributable' {
  const isForwarded = Object.keys(headers).some((name) =>
    /^(?:forwarded|x-real-ip|x-forwarded-.*|tailscale-.*)$/.test(name),
  )
  if (!isForwarded) return 'local'
  if (mode === 'local') return 'unattributable'
  const hops = (headers['x-forwarded-for']?.toString() ?? '').split(',').map((hop) => hop.trim())
  const client = hops.findLast((hop) => hop !== '127.0.0.1') ?? ''
  const version = isIP(client)
  if (version === 0) return 'unattributable'
  return LOOPBACK.check(client, version === 4 ? 'ipv4' : 'ipv6') ? 'unattributable' : 'proxied'
}
