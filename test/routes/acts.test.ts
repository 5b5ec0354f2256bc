/**
 * Is every owner's act done only with a second factor of its own, once the person has one? A script of the dashboard has the
 * session, a fresh sign-in and whatever factor was shown for the terminal, and must not get further.
 */
import { chmodSync } from 'node:fs'
import t, { type Test } from 'tap'
import type { OwnerAction, StateParts } from '../../src/admin/action.ts'
import { isFreshSignIn, type Caller } from '../../src/admin/caller.ts'
import { OWNER_ACTIONS, type ActionName } from '../../src/admin/owner-actions.ts'
import { perform } from '../../src/admin/perform.ts'
import { call, jsonOf, pageOf, ticketOf } from '../helpers/api.ts'
import { client } from '../helpers/door.ts'
import { codeAt } from '../helpers/factors.ts'
import { enrolApp } from '../helpers/forms.ts'
import { startWorkspace } from '../helpers/gateway.ts'
import { aWaitingDevice, startLinkDoor } from '../helpers/link-door.ts'
import { deviceId } from '../helpers/linked.ts'
import { browserSession, principalOf } from '../helpers/principal.ts'
import { startTestVault } from '../helpers/vault-doors.ts'
import { send, type RawAnswer } from '../helpers/wire.ts'

/** The names of the acts. */
const ACTS = Object.entries(OWNER_ACTIONS).flatMap(([name, { isAct }]) =>
  isAct ? [name as ActionName] : [],
)

/** A workspace in which alice has an authenticator app and an API token, and has just signed in. */
async function startWithApp(t: Test) {
  const folder = t.testdir({ 'terminal-credential': 'user:password' })
  chmodSync(folder, 0o700)
  chmodSync(`${folder}/terminal-credential`, 0o600)
  const vault = await startTestVault(t)
  const link = await startLinkDoor(t, [aWaitingDevice(2)])
  const workspace = await startWorkspace(t, {
    GATEWAY_SECOND_FACTOR: 'local',
    GATEWAY_STATE_DIR: folder,
    GATEWAY_VAULT_SOCKETS: vault.sockets,
    GATEWAY_LINK_OWNER_SOCKET: link.socket,
  })
  const page = await pageOf(workspace)
  const token = jsonOf(t, await call(workspace, 'POST /api-tokens', page, { name: 'old' }))
  const app = jsonOf(t, await call(workspace, 'POST /second-factor/app', page))
  const secret = String(app['secret'])
  const tried = { id: app['id'], code: codeAt(secret, Date.now()) }
  const added = jsonOf(t, await call(workspace, 'POST /second-factor/app/confirm', page, tried))
  const codes = added['backupCodes'] as string[]
  /** Asks for an act. @param factor what comes with it */
  const act = (
    name: ActionName,
    headers: readonly string[],
    factor?: { readonly code: string },
  ): Promise<RawAnswer> => {
    const { method, path } = OWNER_ACTIONS[name]
    const ids: Partial<Record<ActionName, unknown>> = {
      'remove-second-factor': added['id'],
      'grant-vault': 'github',
      'approve-device': deviceId(2),
    }
    const id = String(ids[name] ?? token['id'])
    const body = {
      ...(name === 'create-api-token' ? { name: 'new' } : {}),
      ...(name === 'grant-vault' ? { agent: 'ops' } : {}),
      ...(factor === undefined ? {} : { factor }),
    }
    return call(
      workspace,
      `${method} ${path.replace(':id', id)}`,
      headers,
      Object.keys(body).length === 0 ? undefined : body,
    )
  }
  const tokens = async () => {
    const listed = jsonOf(t, await call(workspace, 'GET /api-tokens', page))
    return (listed['apiTokens'] as { name: string }[]).map(({ name }) => name)
  }
  return { ...workspace, page, secret, codes, act, tokens, vault, link }
}

const isRefused = (t: Test, answer: RawAnswer, why: string) =>
  t.match(answer, { status: 401, headers: { 'x-gateway-error': 'step-up-required' } }, why)

t.test('a fresh sign-in, and a factor shown for the terminal, do no act', async (t) => {
  const { port, page, codes, act, tokens, vault, link, dials } = await startWithApp(t)
  const form = new URLSearchParams({ next: '/', code: codes[0] ?? '' }).toString()
  const type = 'Content-Type: application/x-www-form-urlencoded'
  const shown = await send(
    port,
    'POST /_gateway/verify-2fa',
    [...page, type, `Content-Length: ${form.length}`],
    form,
  )
  t.equal(shown.status, 303)
  const [cookie] = (shown.headers['set-cookie'] ?? '').split(';')
  const verified = [`Cookie: ${cookie}`, ...page.slice(1)]
  for (const name of ACTS) isRefused(t, await act(name, verified), name)
  t.same(await tokens(), ['old'])
  t.same(vault.entries.changes, [])
  t.same(link.asked, [])
  t.equal(dials(), 0)
})

t.test('a factor counts for one act, once, and a wrong one for none', async (t) => {
  const { page, secret, codes, act, tokens } = await startWithApp(t)
  const now = codeAt(secret, Date.now())
  const wrong = String((Number(now) + 1) % 1_000_000).padStart(6, '0')
  isRefused(t, await act('create-api-token', page, { code: wrong }), 'a wrong code')
  t.same(await tokens(), ['old'])
  const [first = '', second = ''] = codes
  jsonOf(t, await act('create-api-token', page, { code: first }))
  isRefused(t, await act('rotate-api-token', page, { code: first }), 'the same code again')
  isRefused(t, await act('rotate-api-token', page), 'an act after an act')
  jsonOf(t, await act('rotate-api-token', page, { code: second }))
})

t.test('a program does no act, whatever it shows', async (t) => {
  const { codes, act, tokens } = await startWithApp(t)
  const bearer = [`Authorization: Bearer ${await ticketOf('alice')}`, client('203.0.113.8')]
  for (const name of ['begin-app', 'new-backup-codes'] as const) {
    const { status } = await act(name, bearer, { code: codes[0] ?? '' })
    t.ok(status === 401 || status === 403 || status === 400, `${name}: ${status}`)
  }
  t.equal((await act('create-api-token', bearer, { code: codes[0] ?? '' })).status, 403)
  t.same(await tokens(), ['old'])
})

t.test('who is signed out while their factor is judged does nothing any more', async (t) => {
  const session = browserSession('s1')
  let isDone = false
  const action: OwnerAction<StateParts> = {
    ...({ method: 'POST', path: '/x', who: 'self', isAct: true } as const),
    prepare: () => () => {
      isDone = true
      return { answer: {} }
    },
  }
  const factors = {
    isEnrolled: () => true,
    async prove() {
      session.end('revoked')
      return { isDone: true }
    },
  }
  const parts = { owners: [], keepsFactors: true, factors, state: { refuseIfHandedOver() {} } }
  const caller: Caller = {
    ...({ door: 'api', principal: principalOf(session), isBrowser: true } as const),
    ...{ address: undefined, proof: { kind: 'passkey', response: {} } },
  }
  const acted = perform('x', action, {
    parts: parts as unknown as StateParts,
    ...{ input: { id: '', body: undefined }, caller, logger: undefined },
  })
  await t.rejects(acted, { code: 'token-invalid' })
  t.notOk(isDone)
})

t.test('who is signed out while their act is judged does nothing any more', async (t) => {
  const session = browserSession('s1')
  let isDone = false
  const action: OwnerAction<StateParts> = {
    ...({ method: 'POST', path: '/x', who: 'self', isAct: true } as const),
    async prepare() {
      session.end('revoked')
      return () => {
        isDone = true
        return { answer: {} }
      }
    },
  }
  const parts = { owners: [], keepsFactors: false, state: { refuseIfHandedOver() {} } }
  const principal = { ...principalOf(session), authenticatedAt: Date.now() }
  const caller: Caller = {
    ...({ door: 'api', principal, isBrowser: true, address: undefined } as const),
  }
  const acted = perform('x', action, {
    parts: parts as unknown as StateParts,
    ...{ input: { id: '', body: undefined }, caller, logger: undefined },
  })
  await t.rejects(acted, { code: 'token-invalid' })
  t.notOk(isDone)
})

t.test('factors that are no longer asked for leave a fresh sign-in to decide', async (t) => {
  const workspace = await startWorkspace(t) // GATEWAY_SECOND_FACTOR was taken away after alice had enrolled
  enrolApp(workspace)
  const wanted = { name: 'new' }
  jsonOf(t, await call(workspace, 'POST /api-tokens', await pageOf(workspace), wanted))
  const stale = await pageOf(workspace, 'alice', { minutesAgo: 11 })
  const answer = await call(workspace, 'POST /api-tokens', stale, wanted)
  t.match(answer, { status: 401, headers: { 'x-gateway-error': 'step-up-required' } })
})

t.test('an act takes one factor, and a sign-in of the future is not fresh', async (t) => {
  const { codes, page, tokens, ...workspace } = await startWithApp(t)
  const factor = { code: codes[0], passkey: {} }
  const answer = await call(workspace, 'POST /api-tokens', page, { name: 'new', factor })
  t.equal(answer.status, 400)
  t.same(await tokens(), ['old'])
  const used = { name: 'new', factor: { code: codes[0] } }
  jsonOf(t, await call(workspace, 'POST /api-tokens', page, used)) // it was not used up
  const signedIn = (authenticatedAt: number) => isFreshSignIn({ authenticatedAt }, 0)
  t.same([-601_000, -599_000, 599_000, 601_000].map(signedIn), [false, true, true, false])
})
