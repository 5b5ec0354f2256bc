/** Do the rows of the list of services fit together? What their types cannot say. */
import { readFileSync } from 'node:fs'
import t from 'tap'
import { KNOWN_VARIABLES } from '../../src/config/load.ts'
import { SETTINGS } from '../../src/config/settings.ts'
import {
  ADDRESS_SETTINGS,
  byService,
  doctorWords,
  PROBED_SERVICES,
  SERVICE_NAMES,
  SERVICES,
  type ServiceName,
} from '../../src/rules/services.ts'
import { pathOf, routeOf, strippedPrefix } from '../../src/rules/site-map.ts'

const SITE = { controlUi: '/chat', stripApi: true, hasVault: true, hasDaemon: true }
const rows = SERVICE_NAMES.map((name) => ({ name, ...SERVICES[name] }))
const isBelow = (claims: string) => ['prefix', 'vault', 'daemon'].includes(claims)
const withoutRepeats = (values: readonly unknown[]) => [...new Set(values)]

t.test('the names are those of today: settings, log lines and metrics have them', async (t) => {
  t.same(SERVICE_NAMES, ['dashboard', 'chat', 'terminal', 'api', 'health', 'vault', 'code'])
  t.same(PROBED_SERVICES, ['dashboard', 'terminal', 'api', 'health'])
  for (const name of SERVICE_NAMES) t.match(name, /^(?!(?:gateway|none)$)[a-z]+(?:-[a-z]+)*$/)
})

t.test('each service has the path that its row claims', async (t) => {
  for (const { name, path, claims } of rows) {
    const segment = claims === 'vault' ? /^\/_gateway\/[a-z]+$/ : /^\/(?:_?[a-z]+(?:-[a-z]+)*)?$/
    t.match(path, segment, 'a segment that needs no escape')
    t.equal(routeOf(path, SITE), name, path)
    t.equal(pathOf(name, SITE), path)
    if (isBelow(claims)) t.equal(routeOf(`${path}/x`, SITE), name)
  }
  const paths = rows.map(({ path }) => path)
  t.same(withoutRepeats(paths), paths)
  // Stage 1 gives the router `/` for a target that is none.
  t.same(
    rows.filter(({ path }) => path === '/').map(({ claims }) => claims),
    ['rest'],
  )
})

t.test('what cannot be done with the path of a row is not asked for', async (t) => {
  for (const { name, claims, stripsPath, isolated } of rows)
    if (!isBelow(claims)) {
      t.equal(stripsPath, false, `${name}: only a prefix can be taken off`)
      t.equal(isolated, false, `${name}: cookies can be kept below a prefix only`)
    }
})

t.test('a route of the gateway’s own takes no part in what is relayed', async (t) => {
  for (const { name, answeredBy, budget, upgrades } of rows) {
    t.equal(budget === 'none', answeredBy === 'gateway', `${name}: all that is relayed is counted`)
    if (answeredBy === 'gateway') t.equal(upgrades, 'none', name)
  }
})

t.test('each address is one setting, and its program is looked at once', async (t) => {
  const settings = ADDRESS_SETTINGS.map(({ key, env }) => [key, env])
  t.same(withoutRepeats(settings.flat()), settings.flat())
  for (const { name, address } of rows)
    t.ok(
      typeof address === 'string' || ADDRESS_SETTINGS.includes(address),
      `${name} has the one object of its setting`,
    )
  for (const { key, env, default: url } of ADDRESS_SETTINGS) {
    t.ok(KNOWN_VARIABLES.includes(env), env)
    t.match(SETTINGS[key], { env, default: url, required: false, secret: false })
    t.equal(PROBED_SERVICES.filter((name) => SERVICES[name].address.key === key).length, 1, env)
  }
  const defaults = ADDRESS_SETTINGS.map((setting) => setting.default)
  t.same(withoutRepeats(defaults), defaults)
})

t.test('doctor has a name for each service that is not one of its other questions', async (t) => {
  const names = PROBED_SERVICES.map((name) => doctorWords(name).name)
  t.same(withoutRepeats(names), names)
  for (const name of names)
    t.notOk(['state-folder', 'gateway', 'client-address', 'open-ports', 'clock'].includes(name))
})

t.test('passwords are kept by session, so one service at most asks for one', async (t) => {
  t.equal(rows.filter(({ basicPassword }) => basicPassword).length, 1)
})

t.test('the table in README has each service, its paths and its default address', async (t) => {
  const readme = readFileSync('README.md', 'utf8')
  for (const { name, path, claims, address } of rows) {
    if (claims === 'vault') continue // for programs of other workspaces: docs/vault.md
    const paths = {
      rest: '`/` and everything else',
      exact: `\`${path}\``,
      prefix: `\`${path}\`, \`${path}/*\``,
      daemon: `\`${path}\`, \`${path}/*\``,
      'control-ui': `\`${path}\`, \`${path}/*\``,
    }[claims]
    const line = readme.split('\n').find((one) => one.startsWith(`| ${paths} |`)) ?? ''
    const where = typeof address === 'string' ? SETTINGS.daemonUrl.env : address.default
    t.ok(line.endsWith(`| \`${where}\` |`), `${name}: ${paths} with ${where}`)
  }
})

t.test('a record by service has them all', async (t) => {
  const lengths: Record<ServiceName, number> = byService((name, { path }) => (name + path).length)
  t.same(Object.keys(lengths), SERVICE_NAMES)
  t.equal(lengths.api, 'api/api'.length)
})

t.test('what is taken off a path', async (t) => {
  t.equal(strippedPrefix('api', SITE), '/api')
  t.equal(strippedPrefix('api', { ...SITE, stripApi: false }), '')
  t.equal(strippedPrefix('vault', SITE), '/_gateway/vault')
  t.equal(strippedPrefix('code', SITE), '/_code')
  for (const name of ['dashboard', 'chat', 'terminal', 'health', 'gateway'] as const)
    t.equal(strippedPrefix(name, SITE), '', name)
})

t.test('the vault has a path only where the gateway knows of one', async (t) => {
  const without = { ...SITE, hasVault: false }
  t.equal(pathOf('vault', without), undefined)
  t.equal(strippedPrefix('vault', without), '')
  for (const path of ['/_gateway/vault', '/_gateway/vault/s/github']) {
    t.equal(routeOf(path, SITE), 'vault')
    t.equal(routeOf(path, without), 'gateway')
  }
  for (const path of ['/_gateway', '/_gateway/vaults', '/_gateway/Vault', '/_gateway/v1/vault'])
    t.equal(routeOf(path, SITE), 'gateway', path)
})

t.test('the daemon has a path only where GATEWAY_DAEMON_URL names one', async (t) => {
  const without = { ...SITE, hasDaemon: false }
  t.equal(pathOf('code', without), undefined)
  t.equal(strippedPrefix('code', without), '')
  for (const path of ['/_code', '/_code/api/health']) {
    t.equal(routeOf(path, SITE), 'code')
    t.equal(routeOf(path, without), 'dashboard')
  }
  for (const path of ['/_codex', '/_Code', '/code', '/_gateway/_code'])
    t.not(routeOf(path, SITE), 'code', path)
})
