/** Do the limits never stop a user, and always stop guessing? Real Chromium, Caddy, gateway and ttyd, in both profiles. */
import { createServer } from 'node:http'
import type { Page } from 'playwright-core'
import t, { type Test } from 'tap'
import { startUpstream } from '../helpers/upstream.ts'
import * as caddy from './caddy.ts'
import * as chromium from './chromium.ts'
import { FOLDER, freePort, until } from './neighbour.ts'
import { TerminalPage } from './terminal-page.ts'
import * as ttyd from './ttyd.ts'
import { startWorkspace, type Workspace } from './workspace.ts'

await Promise.all([caddy.install(), chromium.install(), ttyd.install(FOLDER)])
const browser = await chromium.startChromium()
t.teardown(() => browser.stop())

/** The profile in which the limit of ten requests applies to every client. */
const LITERAL = { GATEWAY_SESSION_ROUTES: 'none' }

/** A service that responds to every request with an empty page with an inline icon. */
async function startService(t: Test): Promise<string> {
  const service = await startUpstream(t, (request, response) => {
    request.resume().on('end', () => {
      response.writeHead(200, { 'Content-Type': 'text/html' })
      response.end('<!doctype html><link rel="icon" href="data:,"><title>a page</title>')
    })
  })
  return service.url
}

/** Starts a whole workspace with the default limits and these settings. */
async function start(t: Test, settings: Record<string, string> = {}) {
  const service = await startService(t)
  const shell = await ttyd.startTtyd(FOLDER)
  t.teardown(() => shell.stop())
  const services = { dashboard: service, api: service, health: service, terminal: shell.url }
  const workspace = await startWorkspace({ ...services, settings })
  t.teardown(() => workspace.stop())
  const front = await caddy.startCaddy({ [workspace.host]: workspace.port })
  t.teardown(() => front.stop())
  const origin = front.origin(workspace.host)
  return {
    workspace,
    origin,
    front,
    /** Opens a page in a new, signed-in profile. */
    signIn: async (httpCredentials: { username: string; password: string } = ttyd.CREDENTIAL) => {
      const page = await browser.open({ httpCredentials })
      t.teardown(() => page.context().close())
      await chromium.signIn(page, origin, await workspace.token())
      return page
    },
  }
}

/** The requests that the gateway has refused with 429 so far. */
const limited = (workspace: Workspace) =>
  workspace.requests('').filter(({ status }) => status === 429)

/** Makes a page of the workspace send a number of POSTs. @returns their statuses */
function callApi(page: Page, count: number): Promise<number[]> {
  return page.evaluate<number[]>(`(async () => {
    const statuses = []
    for (let i = 0; i < ${count}; i++)
      statuses.push((await fetch('/api/x', { method: 'POST', body: String(i) })).status)
    return statuses
  })()`)
}

/** Submits a form to the dashboard, and waits until the response is displayed. */
async function postForm(page: Page): Promise<number> {
  const [answer] = await Promise.all([
    page.waitForResponse((one) => one.request().method() === 'POST'),
    page.waitForEvent('load'),
    page.evaluate(`{
      const form = document.createElement('form')
      form.method = 'post'
      form.action = '/form'
      document.body.append(form)
      form.submit()
    }`),
  ])
  return answer.status()
}

t.test('a signed-in user reaches no limit with six visits, 20 forms and 20 calls', async (t) => {
  const { signIn, origin, workspace } = await start(t)
  const startedAt = performance.now()
  const page = await signIn()
  for (let i = 0; i < 20; i++) t.equal(await postForm(page), 200)
  t.same([...new Set(await callApi(page, 20))], [200])
  const terminal = await TerminalPage.open(page, origin)
  for (let i = 1; i < 6; i++) {
    await page.reload()
    await terminal.ready()
  }
  await terminal.ask('echo SIXTH-$((6*7))', /^SIXTH-42$/m)
  const seconds = Math.round((performance.now() - startedAt) / 1000)
  const count = workspace.requests('').length
  t.ok(seconds < 60, `within a minute: ${count} requests in ${seconds} s`)
  t.same(limited(workspace), [])
  await page.goto(`${origin}/`)
  await page.evaluate(`fetch('/_gateway/sign-out', { method: 'POST', redirect: 'manual' })`)
  await until('the sign-out', () =>
    workspace.requests('/_gateway/sign-out').some(({ status }) => status === 303),
  )
  t.same(limited(workspace), [], 'nor on the way out')
})

t.test(
  'in the literal profile, the limit of ten applies, and users can still sign out and in',
  async (t) => {
    const { signIn, origin, workspace } = await start(t, LITERAL)
    const page = await signIn()
    const statuses = await callApi(page, 12)
    const first = statuses.indexOf(429)
    t.ok(first >= 5 && first <= 8, `sign-in page and dashboard count: ${statuses.join()}`)
    t.same([...new Set(statuses.slice(0, first))], [200])
    t.same([...new Set(statuses.slice(first))], [429])
    const answer = await page.goto(`${origin}/`)
    t.equal(answer?.status(), 429)
    const seconds = Number(answer?.headers()['retry-after'])
    t.match(await page.textContent('main'), new RegExp(`Wait ${seconds} seconds?, then try again`))
    const out = `fetch('/_gateway/sign-out', { method: 'POST', redirect: 'manual' })`
    await page.evaluate(out).catch(() => {}) // the page's own policy does not allow scripts to fetch
    await page.context().clearCookies()
    const link = `${origin}/_gateway/sign-in?token=${await workspace.token()}`
    await page.goto(link)
    t.match(workspace.requests('/_gateway/sign-in').at(-1), { status: 303 })
  },
)

t.test(
  'a program with a Bearer token is stopped after ten requests, even in a browser’s session',
  async (t) => {
    const { signIn, front, workspace } = await start(t)
    const page = await signIn()
    const before = workspace.requests('').length
    const headers = { Authorization: `Bearer ${await workspace.token()}` }
    const statuses: number[] = []
    for (let i = 0; i < 11; i++)
      statuses.push((await caddy.ask(front, workspace.host, '/api/x', { headers })).status)
    const first = statuses.indexOf(429)
    t.ok(first >= 8 && first <= 10, `before it came ${before} lines: ${statuses.join()}`)
    t.same([...new Set(await callApi(page, 20))], [200], 'the browser goes on')
  },
)

t.test(
  'after eleven wrong tokens, sign-in must wait; the form and its return path stay',
  async (t) => {
    const { origin, workspace } = await start(t)
    const page = await browser.open()
    t.teardown(() => page.context().close())
    await page.goto(`${origin}/_gateway/sign-in?return_to=%2Flogs%3Fa%3D1`)
    let tries = 0
    for (; tries < 11 && (await page.locator('input[name=token]').count()) === 1; tries++) {
      await page.fill('input[name=token]', `wrong-${tries}`)
      await Promise.all([page.waitForEvent('load'), page.click('button')])
    }
    t.equal(tries, 10, 'the page itself was the first of ten requests')
    t.match(await page.textContent('h1'), 'Too many requests')
    t.match(await page.textContent('main'), /Wait \d+ seconds?, then try again/)
    t.equal(workspace.requests('favicon').length, 0, 'our pages make no second request')

    const next = await browser.open()
    t.teardown(() => next.context().close())
    const body = new URLSearchParams({ token: await workspace.token(), return_to: '/logs' })
    await next.goto(`${origin}/_gateway/sign-in?${body.toString()}`)
    t.equal(new URL(next.url()).pathname, '/logs', 'a valid token passes all the same')
  },
)

t.test(
  'a mistyped token and then the right one lead to the page that the user opened',
  async (t) => {
    const { origin, workspace } = await start(t)
    const page = await browser.open()
    t.teardown(() => page.context().close())
    await page.goto(`${origin}/logs?a=1`)
    await page.fill('input[name=token]', 'mistyped')
    await Promise.all([page.waitForEvent('load'), page.click('button')])
    t.match(await page.textContent('[role=alert]'), 'The token is not valid for this workspace')
    await page.fill('input[name=token]', await workspace.token())
    await page.click('button')
    await page.waitForURL(`${origin}/logs?a=1`)
    t.pass('the right one')
  },
)

t.test(
  'eleven wrong terminal passwords are stopped, and the owner’s terminal continues',
  async (t) => {
    const { signIn, origin, front, workspace } = await start(t)
    const owner = await TerminalPage.open(await signIn(), origin)
    const cookie = `__Host-workspace_session=${await workspace.token('mallory')}`
    const statuses: number[] = []
    for (let i = 0; i < 11; i++) {
      const guess = Buffer.from(`user:wrong${i}`).toString('base64')
      const headers = { Cookie: cookie, Authorization: `Basic ${guess}` }
      statuses.push((await caddy.ask(front, workspace.host, '/terminal/', { headers })).status)
    }
    const first = statuses.indexOf(429)
    t.ok(first >= 8 && first <= 10, `signing in counts: ${statuses.join()}`)
    t.same([...new Set(statuses.slice(0, first))], [401])
    t.same([...new Set(statuses.slice(first))], [429])
    await owner.page.reload()
    await owner.ready()
    await owner.ask('echo STILL-$((6*7))', /^STILL-42$/m)
  },
)

t.test('the page of a service that is down goes on to the service when it is up', async (t) => {
  const port = await freePort()
  const { signIn, origin, workspace } = await start(t, {
    GATEWAY_API_URL: `http://127.0.0.1:${port}`,
  })
  const page = await signIn()
  await page.goto(`${origin}/api/x`)
  t.match(await page.textContent('main'), 'The agent (OpenClaw) does not answer.')
  t.match(await page.textContent('main'), 'This page goes on by itself when it is up')
  const asked = (path: string) => workspace.requests(path).length
  await until('a look', () => asked('/_gateway/ready') >= 1)
  t.equal(asked('/api/x'), 1, 'only the gateway is asked')
  t.equal(asked('favicon'), 0)
  const service = createServer((_request, response) => response.end('here I am'))
  service.listen(port, '127.0.0.1')
  t.teardown(() => {
    service.close()
    service.closeAllConnections()
  })
  await page.getByText('here I am').waitFor()
  await until('its request', () => asked('/api/x') >= 2)
  t.equal(asked('/api/x'), 2, 'once')
})
