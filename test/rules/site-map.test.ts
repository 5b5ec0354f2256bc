/** Does each path belong to the service that the site map says? */
import t from 'tap'
import {
  RESERVED_PREFIXES,
  routeOf,
  type RouteName,
  type SiteMap,
} from '../../src/rules/site-map.ts'

const WITH_CHAT: SiteMap = { controlUi: '/chat', stripApi: true }
const WITHOUT_CHAT: SiteMap = { controlUi: undefined, stripApi: true }

type Row = readonly [path: string, expected: RouteName, why: string]

t.test('each path belongs to the service whose prefix it has', async (t) => {
  const rows: readonly Row[] = [
    ['/', 'dashboard', 'the root'],
    ['/anything/else', 'dashboard', 'whatever no prefix claims'],
    ['/terminal', 'terminal', 'a prefix itself'],
    ['/terminal/', 'terminal', 'with a slash'],
    ['/terminal/ws', 'terminal', 'below it'],
    ['/api', 'api', 'a prefix itself'],
    ['/api/v1', 'api', 'below it'],
    ['/chat', 'chat', 'the control UI'],
    ['/chat/a', 'chat', 'below it'],
    ['/health', 'health', 'itself'],
    ['/_gateway/sign-in', 'gateway', 'the gateway'],
  ]
  for (const [path, expected, why] of rows)
    t.equal(routeOf(path, WITH_CHAT), expected, `${path}: ${why}`)
})

t.test('a prefix matches whole segments, case-sensitively, and only at the start', async (t) => {
  const prefixes = ['/terminal', '/api', '/chat', '/_gateway', '/health']
  const lookAlikes = prefixes.flatMap((prefix) => [
    `${prefix}x`,
    `${prefix}-x`,
    `${prefix}.`,
    `${prefix};x`,
    `${prefix}%2f`,
    `${prefix}?`,
    `${prefix} `,
    `${prefix}\\`,
    prefix.toUpperCase(),
    prefix.slice(0, -1),
    `/x${prefix}`,
    `/${prefix}`,
    prefix.slice(1),
  ])
  const claimed = lookAlikes.filter((path) => routeOf(path, WITH_CHAT) !== 'dashboard')
  t.same(claimed, [], `${lookAlikes.length} look-alikes`)
})

t.test('/health is one path, not a prefix', async (t) => {
  for (const path of ['/health/', '/health/live', '/healthz'])
    t.equal(routeOf(path, WITH_CHAT), 'dashboard', path)
})

t.test('the control UI is a route only when it is switched on', async (t) => {
  t.equal(routeOf('/chat', WITHOUT_CHAT), 'dashboard')
  t.equal(routeOf('/ui/openclaw/x', { controlUi: '/ui/openclaw', stripApi: true }), 'chat')
  t.equal(routeOf('/ui', { controlUi: '/ui/openclaw', stripApi: true }), 'dashboard')
})

t.test('GATEWAY_CONTROL_UI cannot name a prefix of another route', async (t) => {
  for (const prefix of RESERVED_PREFIXES)
    t.not(routeOf(prefix, { controlUi: prefix, stripApi: true, hasDaemon: true }), 'chat', prefix)
  t.same([...RESERVED_PREFIXES].toSorted(), ['/_code', '/_gateway', '/api', '/health', '/terminal'])
})
