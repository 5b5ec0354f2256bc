/** Does `second-factor` list, reset and unlock, through the running gateway and without one, and do doctor and check see faults? */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { check } from '../../src/commands/check.ts'
import { examineSecondFactor } from '../../src/commands/doctor/second-factor.ts'
import { secondFactor } from '../../src/commands/second-factor.ts'
import { KeyRing } from '../../src/identity/key-ring.ts'
import { runCommand } from '../helpers/command.ts'
import { OTHER_CONFIG_SECRET } from '../helpers/configuration.ts'
import { client, HTTPS, signIn } from '../helpers/door.ts'
import { examined } from '../helpers/examined.ts'
import { codeAt, factorsOn } from '../helpers/factors.ts'
import { SECRET, testSettings, token } from '../helpers/gateway.ts'
import { serve, temporaryFolder } from '../helpers/process.ts'
import { openState } from '../helpers/state.ts'
import { eventually } from '../helpers/waiting.ts'
import { send } from '../helpers/wire.ts'

const keys = () => new KeyRing([SECRET])

t.test('factors are listed, reset and unlocked, with the gateway and without it', async (t) => {
  const stateDir = temporaryFolder(t)
  const { state } = await openState(t, stateDir)
  const { addApp, show, clock } = factorsOn(state, { keys: keys(), at: Date.now() })
  const { secret } = addApp()
  addApp('bob')
  for (let i = 0; i < 5; i++) await show(codeAt(secret, clock.now + 3_000_000 + i * 30_000), 'bob')
  state.close()
  const env = { GATEWAY_STATE_DIR: stateDir }
  const command = (...args: string[]) => runCommand(secondFactor, args, env)

  const { out } = await command('list')
  t.match(out, /^SUB +FACTOR +NAME +SINCE +LAST USED +STATE$/m)
  t.match(out, /^alice +app +- +20\S+ \S+Z +- +in force$/m)
  t.match(out, /^alice +codes +- .* 10 of 10 left$/m)
  t.match(out, /^bob +app .* locked until 20/m)
  t.notOk(out.includes(secret))
  t.match(await command('unlock', '--sub', 'bob'), { code: 0, out: 'codes of bob: unlocked\n' })
  t.match(await command('unlock', '--sub', 'bob'), { out: 'codes of bob: were not locked\n' })

  const gateway = await serve(t, { GATEWAY_STATE_DIR: stateDir })
  const cookie = await signIn(gateway.port, await token({ subject: 'alice' }), [
    client('203.0.113.9'),
  ])
  const list = JSON.parse((await command('list', '--json')).out) as Array<{ sub: string }>
  t.match(list, [
    { sub: 'alice', totp: { problem: null }, passkeys: [], backupCodes: { left: 10 } },
    { sub: 'bob', lockedUntil: null },
  ])
  t.match(await command('reset', '--sub', 'alice'), {
    ...{ code: 0, err: '' },
    out: 'second factors of alice: removed; 1 session ended\n',
  })
  t.equal((await send(gateway.port, 'GET /_gateway/v1/session', [cookie, HTTPS])).status, 401)
  const line = await gateway.logged('owner acted')
  t.match(line, { action: 'reset-second-factor', by: 'machine', changed: ['alice'], saved: true })
  t.match(await command('reset', '--sub', 'alice'), { out: /there were none; 0 sessions ended/ })
  t.notOk(gateway.stdout().includes(secret))
  gateway.child.kill('SIGTERM')
  t.equal(await gateway.exited, 0)
  t.match(await command('reset', '--sub', 'bob'), { code: 0, out: /bob: removed; 0 sessions/ })
  t.match(await command('list'), { code: 0, out: '', err: /nobody has a second factor/ })
})

t.test('factors that may have been lost are said, though nobody can name whose', async (t) => {
  const stateDir = temporaryFolder(t)
  const settings = {
    ...{ GATEWAY_WORKSPACE: 'houston', GATEWAY_JWT_SECRET: SECRET },
    ...{ GATEWAY_STATE_DIR: stateDir, GATEWAY_SECOND_FACTOR: 'local' },
  }
  writeFileSync(join(stateDir, 'state.db'), 'no state', { mode: 0o600 })
  ;(await openState(t, stateDir)).state.close()
  const { state } = await openState(t, stateDir) // the damage is of an earlier start
  factorsOn(state, { keys: keys(), at: Date.now() }).factors.reset('alice')
  state.close()
  const listed = await runCommand(secondFactor, ['list'], settings)
  t.match(listed, {
    code: 0,
    out: '',
    err: /may have been lost .*state restore FILE.* reset --sub/,
  })
  t.notMatch(listed.err, 'nobody has a second factor')
  const found = async (more: Record<string, string> = {}) =>
    (await examined(examineSecondFactor, { ...settings, ...more }))['second-factors']
  t.match(await found(), { verdict: 'warn', detail: /^lost: .* with a damaged state at 20/ })
  t.match(await found({ GATEWAY_SECOND_FACTOR: 'off' }), { verdict: 'pass' }, 'nobody is asked')
})

t.test('wrong usage', async (t) => {
  for (const args of [[], ['x'], ['reset'], ['unlock', '--sub', '']])
    t.equal((await runCommand(secondFactor, args, {})).code, 64, args.join(' '))
  await t.rejects(runCommand(secondFactor, ['reset', 'alice'], {}), { code: /^ERR_PARSE_ARGS_/ })
})

t.test('doctor and check name what does not work, check before a start', async (t) => {
  const stateDir = temporaryFolder(t)
  const settings = { GATEWAY_STATE_DIR: stateDir }
  const findings = async (more: Record<string, string> = {}) =>
    (await examined(examineSecondFactor, { ...settings, ...more }))['second-factors']
  t.match(await findings(), { verdict: 'pass', detail: 'nobody has one' })
  const { state } = await openState(t, stateDir)
  const { addApp, show, clock, factors } = factorsOn(state, { keys: keys(), at: Date.now() })
  const { secret } = addApp()
  t.match(await findings(), { verdict: 'pass', detail: '1 person has one' })
  for (let i = 0; i < 5; i++) await show(codeAt(secret, clock.now + 3_000_000 + i * 30_000))
  t.match(await findings(), { verdict: 'warn', detail: /^locked: .* alice/ })
  factors.unlock('alice')
  clock.now += 3_600_000
  t.equal(await show(codeAt(secret, clock.now)), 'done')
  t.match(await findings(), { verdict: 'fail', detail: /^clock-behind: / })
  clock.now -= 3_600_000
  factors.unlock('alice')
  t.match(await findings(), { verdict: 'pass' })
  state.close()
  const other = { GATEWAY_JWT_SECRET: OTHER_CONFIG_SECRET }
  t.match(await findings(other), { verdict: 'fail', detail: /^factor-key-missing: .* alice/ })
  const env = (more: Record<string, string>) => testSettings({ ...settings, ...more })
  const said = async (more: Record<string, string>) => (await runCommand(check, [], env(more))).out
  t.match(await said(other), /factor-key-missing: .*GATEWAY_JWT_PREVIOUS_SECRETS/)
  t.notMatch(await said({ ...other, GATEWAY_JWT_PREVIOUS_SECRETS: SECRET }), 'factor-key-missing')
  t.notMatch(await said({}), 'factor-key-missing')
})

t.test('a rotation by SIGHUP encrypts again, so that the old key can be removed', async (t) => {
  const stateDir = temporaryFolder(t)
  const { state } = await openState(t, stateDir)
  factorsOn(state, { keys: keys(), at: Date.now() }).addApp()
  state.close()
  const folder = temporaryFolder(t)
  const [current, previous] = [join(folder, 'current'), join(folder, 'previous')]
  writeFileSync(current, SECRET)
  writeFileSync(previous, '')
  const gateway = await serve(t, {
    ...{ GATEWAY_STATE_DIR: stateDir, GATEWAY_JWT_SECRET: undefined },
    GATEWAY_JWT_SECRET_FILE: current,
    GATEWAY_JWT_PREVIOUS_SECRETS_FILE: previous,
  })
  const problems = async () => {
    const { out } = await runCommand(secondFactor, ['list', '--json'], {
      GATEWAY_STATE_DIR: stateDir,
    })
    const [alice] = JSON.parse(out) as [Record<'totp' | 'backupCodes', { problem: string | null }>]
    return [alice.totp.problem, alice.backupCodes.problem]
  }
  const rotate = async (signing: string, old: string) => {
    writeFileSync(current, signing)
    writeFileSync(previous, old)
    const before = replacements()
    gateway.child.kill('SIGHUP')
    await eventually(() => replacements() > before, 'keys replaced')
  }
  const replacements = () => gateway.logLines().filter(({ msg }) => msg === 'keys replaced').length
  t.same(await problems(), [null, null])
  await rotate(OTHER_CONFIG_SECRET, SECRET)
  await rotate(OTHER_CONFIG_SECRET, '')
  t.same(await problems(), [null, null], 'nobody noticed')
  await rotate(SECRET, '')
  t.same(await problems(), ['factor-key-missing', 'factor-key-missing'], 'removed too early')
  await rotate(SECRET, OTHER_CONFIG_SECRET)
  t.same(await problems(), [null, null], 'and nothing is lost')
})
