/** Does a second factor count once across a hot restart, and is what was begun before it refused with a new form? */
import t from 'tap'
import { call, jsonOf, pageOf } from '../helpers/api.ts'
import { NAVIGATION } from '../helpers/door.ts'
import { codeAt, STEP } from '../helpers/factors.ts'
import { serveWithPortKeeper } from '../helpers/port-keeper.ts'
import { send } from '../helpers/wire.ts'

t.test('what was used up in the old process is used up in the new one', async (t) => {
  const settings = { GATEWAY_SECOND_FACTOR: 'local', GATEWAY_TRUSTED_PROXIES: 'loopback' }
  const program = await serveWithPortKeeper(t, settings)
  const page = await pageOf(program)
  const begun = jsonOf(t, await call(program, 'POST /second-factor/app', page))
  const secret = String(begun['secret'])
  const at = Date.now()
  const set = { id: begun['id'], code: codeAt(secret, at) }
  const added = jsonOf(t, await call(program, 'POST /second-factor/app/confirm', page, set))
  const [backupCode = ''] = added['backupCodes'] as string[]
  const code = codeAt(secret, at + STEP) // accepted from now on, for more than a minute
  const pages = await Promise.all(Array.from({ length: 8 }, () => pageOf(program)))
  /** Shows a code in a session of its own. */
  const show = async (text: string) => {
    const body = new URLSearchParams({ code: text }).toString()
    const form = 'Content-Type: application/x-www-form-urlencoded'
    const fields = [...(pages.pop() ?? []), ...NAVIGATION, form, `Content-Length: ${body.length}`]
    return send(program.port, 'POST /_gateway/verify-2fa', fields, body)
  }
  // Each is shown twice while the old process is being replaced, and answered by the one or the other.
  const during = [code, backupCode].map((one) => Promise.all([show(one), show(one)]))
  await program.replace()
  for (const [i, answers] of (await Promise.all(during)).entries()) {
    const taken = answers.filter(({ status }) => status === 303).length
    t.ok(taken <= 1, answers.map(({ status }) => status).join(' '))
    // What neither took, because the one had handed over and the other was not in charge yet, was not used up.
    const first = taken === 1 ? undefined : await show([code, backupCode][i] ?? '')
    if (first !== undefined && i === 1) t.equal(first.status, 303)
    t.equal((await show([code, backupCode][i] ?? '')).status, 401)
  }
  t.equal(await program.stop(), 0)
})

t.test('a set-up that was begun before the restart is begun again', async (t) => {
  const settings = { GATEWAY_SECOND_FACTOR: 'local', GATEWAY_TRUSTED_PROXIES: 'loopback' }
  const program = await serveWithPortKeeper(t, settings)
  const page = await pageOf(program)
  const begun = jsonOf(t, await call(program, 'POST /second-factor/app', page))
  await program.replace()
  const set = { id: begun['id'], code: codeAt(String(begun['secret']), Date.now()) }
  const answer = await call(program, 'POST /second-factor/app/confirm', page, set)
  t.match(answer, { status: 401, body: /Begin again/ })
  const again = jsonOf(t, await call(program, 'POST /second-factor/app', page))
  const code = codeAt(String(again['secret']), Date.now())
  jsonOf(t, await call(program, 'POST /second-factor/app/confirm', page, { id: again['id'], code }))
  t.equal(await program.stop(), 0)
})
