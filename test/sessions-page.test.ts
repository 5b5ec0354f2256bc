/** Do the pages about sessions, API tokens and commands tell the truth? Their login service signs in, their lists are those of the code. */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import t, { type Test } from 'tap'
import { OWNER_ACTIONS } from '../src/admin/owner-actions.ts'
import { API_TOKEN_PATTERN } from '../src/identity/api-tokens.ts'
import type { EndCause } from '../src/identity/session.ts'
import { SCOPE_ROUTES, parseScopes } from '../src/rules/scopes.ts'
import { HTTPS, NAVIGATION } from './helpers/door.ts'
import { SECRET, startWorkspace } from './helpers/gateway.ts'
import { send } from './helpers/wire.ts'

const page = readFileSync('docs/sessions.md', 'utf8')
const programs = readFileSync('docs/api-tokens.md', 'utf8')

/** The login service of the page. */
interface LoginService {
  signInForm(
    userId: string,
    workspace: string,
    secret: string,
    params: URLSearchParams,
    amr?: readonly string[],
  ): Promise<Record<string, string>>
}

/** The login service, as the page has it. */
async function loginService(t: Test): Promise<LoginService> {
  const [, code = ''] = /```js\n([^]*?)```/.exec(page) ?? []
  const file = join(t.testdir(), 'login-service.js')
  writeFileSync(file, code)
  return (await import(pathToFileURL(file).href)) as LoginService
}

t.test('a login service as the page shows it signs a browser in, straight and once', async (t) => {
  const service = await loginService(t)
  const { port, dials } = await startWorkspace(t, {
    GATEWAY_LOGIN_URL: 'https://login.example/in',
  })
  const browser = [HTTPS, ...NAVIGATION]
  const away = await send(port, 'GET /notes?a=1', browser)
  t.equal(away.status, 302)
  const { searchParams } = new URL(away.headers['location'] ?? '')
  const [state = ''] = /__Host-workspace_signin=[^;]+/.exec(away.headers['set-cookie'] ?? '') ?? []

  const fields = await service.signInForm('alice', 'houston', SECRET, searchParams)
  const form = new URLSearchParams(fields).toString()
  const post = () =>
    send(
      port,
      'POST /_gateway/sign-in',
      [
        ...[...browser, `Cookie: ${state}`, 'Origin: https://login.example'],
        ...['Sec-Fetch-Site: cross-site', `Content-Length: ${form.length}`],
        'Content-Type: application/x-www-form-urlencoded',
      ],
      form,
    )
  const back = await post()
  t.equal(back.status, 303)
  t.equal(back.headers['location'], '/notes?a=1')
  t.match(back.headers['set-cookie'], /__Host-workspace_session=/)
  const maxAge = Number(/__Host-workspace_session=.*Max-Age=(\d+)/.exec(back.raw)?.[1])
  t.ok(Math.abs(maxAge - 7 * 86_400) < 10, 'as long as session_exp says')
  t.equal((await post()).headers['x-gateway-error'], 'ticket-used')
  t.equal(dials(), 0)
})

t.test(
  'a login service as the page shows it brings a second factor, into the same session',
  async (t) => {
    const service = await loginService(t)
    const workspace = await startWorkspace(t, {
      GATEWAY_LOGIN_URL: 'https://login.example/in',
      GATEWAY_TERMINAL_AMR: 'otp,hwk',
      GATEWAY_STEP_UP_URL: 'https://login.example/verify',
    })
    const { port, dials } = workspace
    const browser = [HTTPS, ...NAVIGATION]
    let cookies = ''
    /** Opens the terminal, and comes back from where that leads with a ticket that says what was shown. */
    const goThere = async (methods: readonly string[]) => {
      const away = await send(port, 'GET /terminal/', [...browser, ...cookieLine()])
      t.equal(away.status, 302)
      t.equal(dials(), 0)
      const there = new URL(away.headers['location'] ?? '')
      const state =
        /__Host-workspace_signin=[^;]+/.exec(away.headers['set-cookie'] ?? '')?.[0] ?? ''
      const fields = await service.signInForm(
        'alice',
        'houston',
        SECRET,
        there.searchParams,
        methods,
      )
      const form = new URLSearchParams(fields).toString()
      const back = await send(
        port,
        'POST /_gateway/sign-in',
        [
          ...[...browser, `Cookie: ${[cookies, state].filter(Boolean).join('; ')}`],
          ...['Origin: https://login.example', 'Sec-Fetch-Site: cross-site'],
          ...[`Content-Length: ${form.length}`, 'Content-Type: application/x-www-form-urlencoded'],
        ],
        form,
      )
      t.equal(back.status, 303)
      t.equal(back.headers['location'], '/terminal/')
      cookies = /__Host-workspace_session=[^;]+/.exec(back.raw)?.[0] ?? ''
      return there.pathname
    }
    const cookieLine = () => (cookies === '' ? [] : [`Cookie: ${cookies}`])
    const sidOf = () => {
      const [, payload = ''] = cookies.split('.')
      return (JSON.parse(Buffer.from(payload, 'base64url').toString()) as { sid: string }).sid
    }
    t.equal(await goThere(['pwd']), '/in')
    const session = sidOf()
    t.equal(await goThere(['pwd', 'otp']), '/verify')
    t.equal(sidOf(), session)
    const opened = await send(port, 'GET /terminal/', [...browser, ...cookieLine()])
    t.equal(opened.status, 200)
    t.equal(dials(), 1)
  },
)

t.test('the page lists every cause of an end, and no other', async (t) => {
  const causes: Record<EndCause, true> = {
    expired: true,
    'signed-out': true,
    revoked: true,
    'key-removed': true,
    'all-ended': true,
  }
  const [, table = ''] = page.split('## What ends when')
  const listed = [...table.matchAll(/^\| `([a-z-]+)` \|/gm)].map(([, cause]) => cause)
  t.same(listed, Object.keys(causes))
})

t.test('the page about commands lists every action of the JSON API, and no other', async (t) => {
  const commands = readFileSync('docs/commands.md', 'utf8')
  const [, table = ''] = commands.split('\n## The same in JSON\n')
  const rows = [...table.matchAll(/^\| (`(?:GET|POST|DELETE) .*?) \|/gm)].map(([, cell]) => cell)
  const listed = [...rows.join('').matchAll(/`([A-Z]+ \/[^`]+)`/g)].map(([, action]) => action)
  const actions = Object.values(OWNER_ACTIONS).map(
    ({ method, path }) => `${method} ${path.replace(':id', 'ID').replace(':agent', 'AGENT')}`,
  )
  t.same(new Set(listed), new Set(actions))
})

t.test('the page about API tokens has valid scopes, and the pattern of a token', async (t) => {
  t.match(programs, `\`${API_TOKEN_PATTERN}\``)
  const [, section = ''] = programs.split('\n## Scopes\n')
  const rows = [...(section.split('\n## ')[0] ?? '').matchAll(/^\| (`[^|]+) \|/gm)]
  const texts = rows.map(([, cell = '']) => cell).join('')
  const parsed = [...texts.matchAll(/`([^`]+)`/g)].map(([, one = '']) => parseScopes([one])[0])
  t.same(new Set(parsed.map((scope) => scope?.route)), new Set(SCOPE_ROUTES))
})
