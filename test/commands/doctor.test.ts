/** Does the doctor find what is wrong with a workspace, and say what to do? */
import { chmodSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { Finding } from '../../src/commands/doctor/finding.ts'
import { doctor } from '../../src/commands/doctor.ts'
import { runCommand } from '../helpers/command.ts'
import { byName, CREDENTIAL, startStandIns } from '../helpers/examined.ts'
import { SECRET, startTestGateway, testSettings } from '../helpers/gateway.ts'
import { temporaryFolder } from '../helpers/process.ts'
import { closedPort, startRawUpstream, startUpstream } from '../helpers/upstream.ts'

type Settings = Record<string, string | undefined>

/** A service that is slow for lack of processor time is well. */
const PATIENCE = 20

/** How long doctor waits in earnest, for tests of services that never answer. */
const USUAL = 1

async function run(env: Settings, args: readonly string[] = [], patience = PATIENCE) {
  return runCommand(doctor, args, env, { outerAddresses: ['127.0.0.2'], patience })
}

async function findingsOf(env: Settings, patience = PATIENCE) {
  const { code, out } = await run(env, ['--json'], patience)
  const { ok, findings } = JSON.parse(out) as { ok: boolean; findings: Finding[] }
  return { code, ok, findings: byName(findings), list: findings, out }
}

/** A gateway before these services, and the settings that an operator would call the doctor with. */
async function startSettings(t: Test, services: Settings) {
  const stateDir = temporaryFolder(t)
  const settings = testSettings({ GATEWAY_STATE_DIR: stateDir, ...services })
  const { port } = await startTestGateway(t, settings)
  return { stateDir, settings: { ...settings, GATEWAY_PORT: String(port) } }
}

t.test('a healthy workspace passes every question', async (t) => {
  const { stateDir, settings } = await startSettings(t, await startStandIns(t))
  writeFileSync(join(stateDir, 'terminal-credential'), `${CREDENTIAL}\n`, {
    mode: 0o600,
  })
  const { code, ok, list } = await findingsOf(settings)
  t.equal(code, 0)
  t.ok(ok)
  for (const { check, verdict, detail } of list) {
    // The test gateway listens on loopback: nobody else can reach it to spoof anything.
    const expected = check === 'client-address-of-other-peers' ? 'skip' : 'pass'
    t.equal(verdict, expected, `${check}: ${detail}`)
  }
  t.equal(list.length, 26)
})

t.test('five seeded mistakes are each named, with their remedy, in under 10 s', async (t) => {
  const standIns = await startStandIns(t)
  const openTerminal = await startUpstream(t, (_request, response) => response.end('<html>'))
  const silentStats = await startRawUpstream(t, () => {})
  const { stateDir, settings } = await startSettings(t, {
    ...standIns,
    GATEWAY_TERMINAL_URL: openTerminal.url, // ttyd without a credential
    GATEWAY_OPENCLAW_MODE: 'trusted-proxy', // the stand-in refuses what was forwarded
    GATEWAY_HEALTH_URL: silentStats.url,
    GATEWAY_DASHBOARD_URL: `http://127.0.0.1:${await closedPort()}`,
  })
  chmodSync(stateDir, 0o755)
  const startedAt = performance.now()
  const { code, ok, findings, list } = await findingsOf(settings, USUAL)
  t.ok(performance.now() - startedAt < 10_000)
  t.equal(code, 1)
  t.notOk(ok)
  const expected: Record<string, [RegExp, RegExp]> = {
    'terminal-asks-for-password': [/200 .* without a password.* has a shell/, /--credential/],
    'openclaw-takes-forwarding': [
      /403, proxy_attribution_required/,
      /trustedProxies.*127\.0\.0\.1/,
    ],
    'stats-answers': [/no answer within 1 s.*"degraded"/, /restart the stats server/],
    'state-folder-private': [/mode 755/, /chmod 700/],
    'dashboard-answers': [/ECONNREFUSED/, /start the dashboard/],
  }
  for (const [check, [detail, remedy]] of Object.entries(expected))
    t.match(findings[check], { verdict: 'fail', detail, remedy }, check)
  t.same(
    list
      .filter(({ verdict }) => verdict === 'fail')
      .map((one) => one.check)
      .toSorted(),
    Object.keys(expected).toSorted(),
    'and nothing else is',
  )
  t.match(findings['configuration'], { verdict: 'warn', remedy: /check/ })
})

t.test('without --json the output is a table with a remedy below each fault', async (t) => {
  const { settings } = await startSettings(t, {
    ...(await startStandIns(t)),
    GATEWAY_DASHBOARD_URL: `http://127.0.0.1:${await closedPort()}`,
  })
  const { code, out, err } = await run(settings)
  t.equal(code, 1)
  t.equal(err, '')
  t.match(out, /^pass {2}gateway-listens {2,}http:\/\/127\.0\.0\.1:\d+ answered \/health with 200/m)
  t.match(out, /^FAIL {2}dashboard-answers {2,}.*\n {30,}-> start the dashboard/m)
  t.match(out, /\n\n\d+ passed, 0 to look at, 1 failed, 2 not tried\n$/)
})

t.test('the services are examined without a gateway too', async (t) => {
  const { code, findings } = await findingsOf(
    testSettings({
      ...(await startStandIns(t)),
      GATEWAY_STATE_DIR: temporaryFolder(t),
      GATEWAY_PORT: String(await closedPort()),
    }),
  )
  t.equal(code, 1)
  t.match(findings['gateway-listens'], { verdict: 'fail', detail: /ECONNREFUSED/, remedy: /serve/ })
  t.match(findings['gateway-takes-tokens'], { verdict: 'skip' })
  t.match(findings['client-address-of-trusted-peers'], { verdict: 'skip' })
  for (const check of ['dashboard-answers', 'openclaw-takes-forwarding', 'stats-answers'])
    t.match(findings[check], { verdict: 'pass' }, check)
})

t.test(
  'services that accept connections and never answer do not delay doctor past its limit',
  async (t) => {
    const { url } = await startRawUpstream(t, () => {})
    const gateway = await startRawUpstream(t, () => {})
    const startedAt = performance.now()
    const { code, findings } = await findingsOf(
      testSettings({
        GATEWAY_STATE_DIR: temporaryFolder(t),
        GATEWAY_PORT: String(gateway.port),
        GATEWAY_DASHBOARD_URL: url,
        GATEWAY_API_URL: url,
        GATEWAY_TERMINAL_URL: url,
        GATEWAY_HEALTH_URL: url,
      }),
      USUAL,
    )
    t.ok(performance.now() - startedAt < 10_000)
    t.equal(code, 1)
    t.match(findings['dashboard-answers'], { verdict: 'fail', detail: /no answer within 2 s/ })
  },
)

t.test('a wrong configuration is a finding for each problem', async (t) => {
  const { code, out } = await run({ GATEWAY_JWT_SECRET: 'short' }, ['--json'])
  t.equal(code, 1)
  const { findings } = JSON.parse(out) as { findings: Finding[] }
  t.equal(findings.length, 2)
  for (const finding of findings)
    t.match(finding, { check: 'configuration', verdict: 'fail', remedy: /--explain/ })
})

t.test('no secret is printed, whatever the fault', async (t) => {
  const { stateDir, settings } = await startSettings(t, {
    ...(await startStandIns(t, { refuseForwarded: false })),
    GATEWAY_OPENCLAW_TOKEN: 'oc-secret-token-123456',
    GATEWAY_JWT_PREVIOUS_SECRETS: 'Zq4Wm7Xn2Cv5Bb8Nk1Lj3Hg6Fd9Sa0Pe',
  })
  writeFileSync(join(stateDir, 'terminal-credential'), CREDENTIAL)
  for (const args of [[], ['--json']]) {
    const { out, err } = await run(settings, args)
    for (const secret of [SECRET, 'oc-secret-token', CREDENTIAL.slice(5), 'Zq4Wm7Xn', 'Bearer ey'])
      t.notOk((out + err).includes(secret))
  }
})

t.test('unknown arguments are an error of usage', async (t) => {
  await t.rejects(run({}, ['--explain']), { code: 'ERR_PARSE_ARGS_UNKNOWN_OPTION' })
})
