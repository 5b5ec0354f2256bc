/** Does the machine's owner see who showed, added and was refused a second factor, and why, without any secret? */
import t, { type Test } from 'tap'
import { explainDecision } from '../../src/observe/explanation.ts'
import { call, jsonOf, pageOf } from '../helpers/api.ts'
import { NAVIGATION } from '../helpers/door.ts'
import { codeAt, STEP } from '../helpers/factors.ts'
import { startWorkspace } from '../helpers/gateway.ts'
import { send } from '../helpers/wire.ts'

async function startWithApp(t: Test) {
  const workspace = await startWorkspace(t, { GATEWAY_SECOND_FACTOR: 'local' })
  const page = await pageOf(workspace)
  const begun = jsonOf(t, await call(workspace, 'POST /second-factor/app', page))
  const secret = String(begun['secret'])
  const code = codeAt(secret, Date.now() - STEP)
  const confirmation = { id: begun['id'], code }
  jsonOf(t, await call(workspace, 'POST /second-factor/app/confirm', page, confirmation))
  /** Shows a code on the page. @returns the id of the request */
  const show = async (text: string) => {
    const body = new URLSearchParams({ code: text }).toString()
    const form = 'Content-Type: application/x-www-form-urlencoded'
    const fields = [...page, ...NAVIGATION, form, `Content-Length: ${body.length}`]
    const answer = await send(workspace.port, 'POST /_gateway/verify-2fa', fields, body)
    return { status: answer.status, id: answer.headers['x-request-id'] ?? '' }
  }
  /** The last step of the explanation of a request. */
  const told = async (id: string) => {
    await workspace.logLine((line) => line['id'] === id)
    const decision = workspace.running.parts.decisions.find(id)
    if (decision === undefined) throw new Error('not remembered')
    const { chain, user } = explainDecision(decision)
    return `${user}: ${chain.at(-1)?.detail}`
  }
  return { ...workspace, page, secret, show, told, id: String(begun['id']) }
}

t.test('each use, refusal and lock is a line of the log, and a count', async (t) => {
  const { secret, show, logLines, logLine, running, id, page, port } = await startWithApp(t)
  const added = await logLine(({ msg }) => msg === 'second factor added')
  t.match(added, { user: 'alice', factor: 'totp', client: '203.0.113.9', factorId: id })
  const code = codeAt(secret, Date.now())
  t.equal((await show(code)).status, 303)
  t.match(await logLine(({ msg }) => msg === 'second factor shown'), {
    ...{ level: 'info', user: 'alice', factor: 'totp', factorId: id, purpose: 'verify' },
    client: '203.0.113.9',
  })
  t.equal((await show(code)).status, 401)
  t.match(await logLine(({ msg }) => msg === 'second factor refused'), {
    ...{ user: 'alice', factor: 'totp', reason: 'code-used', client: '203.0.113.9' },
  })
  const wrong = ['000000', '111111', '222222', '333333', '444444', '555555', '666666']
    .filter((one) => ![-2, -1, 0, 1, 2].some((s) => codeAt(secret, Date.now() + s * STEP) === one))
    .slice(0, 5)
  for (const one of wrong) await show(one)
  const locked = await logLine(({ msg }) => msg === 'codes locked after wrong ones')
  t.match(locked, { level: 'warn', user: 'alice', client: '203.0.113.9', until: /^\d{4}-/ })
  t.equal((await show(code)).status, 401)
  const { counts, locks } = running.parts.factorLog
  const count = (result: string) =>
    counts.find((one) => one.factor === 'totp' && one.result === result)?.count
  t.same(['added', 'shown', 'code-used', 'wrong-code', 'locked'].map(count), [1, 1, 1, 5, 1])
  t.equal(locks, 1, 'a refusal by the lock is no further lock')
  // What owners do with factors is among their acts.
  const backup = { factor: { code: 'aaaa-aaaa-aaaa-aaaa' } }
  t.equal((await call({ port }, `DELETE /second-factor/${id}`, page, backup)).status, 401)
  t.match(await logLine(({ purpose }) => purpose === 'act remove-second-factor'), {
    ...{ user: 'alice', factor: 'backup-code', reason: 'wrong-code', client: '203.0.113.9' },
  })
  const text = JSON.stringify(logLines())
  for (const one of [secret, code, ...wrong.map((w) => `"${w}"`), 'aaaa-aaaa'])
    t.notOk(text.includes(one))
})

t.test('a right code that was refused is explained, with what to do', async (t) => {
  const { secret, show, told, running } = await startWithApp(t)
  const { state, factors, keys } = running.parts
  const right = () => codeAt(secret, Date.now() + STEP)
  const far = Math.floor(Date.now() / STEP) + 100
  const change = (sql: string) => {
    state.write((database) => database.exec(sql))
    factors.load()
  }
  change(`UPDATE totp SET last_step = ${far}`)
  t.match(
    await told((await show(right())).id),
    /^alice: 401 step-up-required; clock-behind \(.*set it right, then .* unlock --sub NAME/,
  )
  change('UPDATE totp SET last_step = 0')
  const old = keys.signing.kid
  change(`UPDATE totp SET kid = 'gone'`)
  t.match(
    await told((await show(right())).id),
    /^alice: 401 step-up-required; factor-key-missing \(.*add it to GATEWAY_JWT_PREVIOUS_SECRETS/,
  )
  change(`UPDATE totp SET kid = '${old}', sealed = x'00'`)
  t.match(
    await told((await show(right())).id),
    /; factor-unreadable \(.*state restore FILE.*reset --sub NAME/,
  )
  change(
    `INSERT INTO factor_locks (subject, until, count) VALUES ('alice', ${Date.now() + 60_000}, 1)`,
  )
  t.match(await told((await show(right())).id), /; locked \(.*somebody has a session of theirs/)
  t.match(await told((await show('x')).id), /; malformed-code \(/)
})
