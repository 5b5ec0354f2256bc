/** Does signing in, staying in and signing out work as people do it: with links, several tabs, a login page and a terminal? */
import type { RequestListener } from 'node:http'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import type { Page } from 'playwright-core'
import t, { type Test } from 'tap'
import { startUpstream } from '../helpers/upstream.ts'
import * as caddy from './caddy.ts'
import * as chromium from './chromium.ts'
import { FOLDER, until } from './neighbour.ts'
import { TerminalPage } from './terminal-page.ts'
import * as ttyd from './ttyd.ts'
import { startWorkspace } from './workspace.ts'

const SCREENSHOTS = join(FOLDER, 'screenshots')
mkdirSync(SCREENSHOTS, { recursive: true })

await Promise.all([caddy.install(), chromium.install(), ttyd.install(FOLDER)])
const browser = await chromium.startChromium()
t.teardown(() => browser.stop())

/** Serves pages at an origin of their own. */
async function startSite(t: Test, answer: RequestListener): Promise<string> {
  const site = await startUpstream(t, (request, response) => {
    response.setHeader('Content-Type', 'text/html')
    answer(request, response)
  })
  return site.url
}

/** A dashboard with the one form that every dashboard needs. */
const DASHBOARD: RequestListener = (_request, response) => {
  response.end(`<!doctype html><link rel="icon" href="data:,"><h1>the dashboard</h1>
<form method="post" action="/_gateway/sign-out"><button>Sign out</button></form>`)
}

/** Starts a whole workspace. @param loginUrl GATEWAY_LOGIN_URL */
async function start(t: Test, loginUrl?: string) {
  const dashboard = await startSite(t, DASHBOARD)
  const shell = await ttyd.startTtyd(FOLDER)
  t.teardown(() => shell.stop())
  const workspace = await startWorkspace({
    dashboard,
    terminal: shell.url,
    settings: loginUrl === undefined ? {} : { GATEWAY_LOGIN_URL: loginUrl },
  })
  t.teardown(() => workspace.stop())
  const front = await caddy.startCaddy({ [workspace.host]: workspace.port })
  t.teardown(() => front.stop())
  return { workspace, front, origin: front.origin(workspace.host) }
}

/** Opens a profile of its own that knows the terminal's password. */
async function open(t: Test): Promise<Page> {
  const page = await browser.open({ httpCredentials: ttyd.CREDENTIAL })
  t.teardown(() => page.context().close())
  return page
}

/** The names of the cookies that a browser keeps. */
async function cookieNames(page: Page): Promise<string[]> {
  return (await page.context().cookies()).map(({ name }) => name).toSorted()
}

/** Takes pictures of a page on a desktop and on a phone, and asserts that nothing hangs over its edge. */
async function picture(t: Test, page: Page, name: string): Promise<void> {
  for (const [device, width, height] of [
    ['desktop', 1280, 800],
    ['phone', 360, 740],
  ] as const) {
    await page.setViewportSize({ width, height })
    await page.screenshot({ path: join(SCREENSHOTS, `${name}-${device}.png`), fullPage: true })
    const wide = await page.evaluate<number>('document.documentElement.scrollWidth')
    t.ok(wide <= width, `${name} fits on a ${device}`)
  }
}

t.test(
  'a link signs in once, after its preview, and a sign-out in one tab ends the terminal in another',
  async (t) => {
    const { workspace, front, origin } = await start(t)
    const target = `/_gateway/sign-in?token=${await workspace.token()}&return_to=/logs`
    for (const method of ['GET', 'HEAD']) {
      const preview = await caddy.ask(front, workspace.host, target, { method })
      t.equal(preview.status, 200, `a chat looks at the link: ${method}`)
    }
    const page = await open(t)
    await page.goto(origin + target)
    t.equal(page.url(), `${origin}/logs`, 'a person goes straight in')
    t.equal(await page.textContent('h1'), 'the dashboard')

    const terminal = await TerminalPage.open(await page.context().newPage(), origin)
    await terminal.ask('echo RESULT-$((6*7))', /^RESULT-42$/m)
    await page.bringToFront()
    await page.click('text=Sign out')
    await page.waitForURL(`${origin}/_gateway/signed-out`)
    t.equal(await page.textContent('h1'), 'You are signed out')
    await terminal.shows(/Your session has ended\. Sign in again at/, 'the last line', 5000)
    t.same(await cookieNames(page), [])
    await picture(t, page, 'signed-out')

    await page.goto(origin + target)
    t.equal(await page.textContent('h1'), 'This sign-in link was used before')
    await picture(t, page, 'ticket-used')
    await page.goto(`${origin}/_gateway/signed-out`)
    await page.click('text=Sign in again')
    await page.waitForURL(`${origin}/`)
    t.equal(await page.textContent('h1'), 'Sign in to this workspace')
    await picture(t, page, 'sign-in')
  },
)

t.test('a page of somebody else signs nobody in without being asked', async (t) => {
  const { workspace, origin } = await start(t)
  const forged = await workspace.token('mallory <mallory@evil.example>')
  const evil = await startSite(t, (request, response) => {
    const action = `${origin}/_gateway/sign-in`
    response.end(
      request.url === '/form'
        ? `<form method="post" action="${action}"><input name="token" value="${forged}"><button>Win</button></form>`
        : `<a href="${action}?token=${forged}">Win</a>`,
    )
  })
  const page = await open(t)
  await chromium.signIn(page, origin, await workspace.token())
  for (const way of ['form', 'link']) {
    await page.goto(`${evil}/${way}`)
    await page.click('text=Win')
    await page.waitForURL(`${origin}/**`)
    t.equal(await page.textContent('h1'), 'Sign in to this workspace?', way)
    t.match(await page.textContent('main'), 'This signs you in as mallory <mallory@evil.example>.')
    // A browser does not send the session's cookie with a form of another site.
    const warning = 'You are signed in as alice now. That session ends.'
    t.equal((await page.textContent('main'))?.includes(warning), way === 'link')
    if (way === 'link') await picture(t, page, 'sign-in-question')
    const visits = () => workspace.requests('').filter(({ path }) => path === '/')
    const before = visits().length
    const hers = await page.context().newPage()
    await hers.goto(`${origin}/`)
    await until('a request', () => visits().length > before)
    t.match(visits().at(-1), { user: 'alice', status: 200 }, 'she is still who she was')
    await hers.close()
  }
  await page.click('button')
  await page.waitForURL(`${origin}/`)
  t.equal(await page.textContent('h1'), 'the dashboard', 'the button signs in')
})

t.test(
  'two tabs go to the login page and come back, and a renewal leaves the terminal alone',
  async (t) => {
    const tokens: string[] = []
    const login = await startSite(t, (request, response) => {
      const { pathname, searchParams } = new URL(request.url ?? '', 'http://login')
      if (pathname !== '/login') {
        response.end() // the icon
        return
      }
      const returnTo = new URL(searchParams.get('return_to') ?? '')
      const field = (name: string, value = '') =>
        `<input type="hidden" name="${name}" value="${value}">`
      response.end(`<!doctype html><h1>the login page</h1>
<form method="post" action="${returnTo.origin}/_gateway/sign-in">${field('token', tokens.pop())}
${field('return_to', returnTo.href)}${field('state', searchParams.get('state') ?? '')}
<button>Log in</button></form>`)
    })
    const { workspace, origin } = await start(t, `${login}/login`)
    const page = await open(t)
    const other = await page.context().newPage()
    const nextToken = async () => void tokens.unshift(await workspace.token())
    for (const [tab, path] of [
      [page, '/one'],
      [other, '/two'],
    ] as const) {
      await nextToken()
      await tab.goto(origin + path)
      t.equal(await tab.textContent('h1'), 'the login page')
    }
    for (const [tab, path] of [
      [page, '/one'],
      [other, '/two'],
    ] as const) {
      await tab.click('text=Log in')
      await tab.waitForURL(origin + path)
      t.equal(await tab.textContent('h1'), 'the dashboard', `straight in: ${path}`)
    }
    t.same(await cookieNames(page), ['__Host-workspace_session', '__Host-workspace_signin'])

    const terminal = await TerminalPage.open(other, origin)
    for (let i = 0; i < 3; i++) {
      await nextToken()
      await page.goto(`${origin}/_gateway/renew?return_to=/logs`)
      await page.click('text=Log in')
      await page.waitForURL(`${origin}/logs`)
    }
    await terminal.ask('echo STILL-$((6*7))', /^STILL-42$/m)
    t.equal((await terminal.traffic()).sockets, 1, 'three renewals, no close')

    await page.goto(`${origin}/_gateway/sign-in`)
    await picture(t, page, 'sign-in-with-account')
    await page.goto(`${origin}/`)
    await page.click('text=Sign out')
    await page.waitForURL(`${origin}/_gateway/signed-out`)
    await terminal.shows(/Your session has ended\./, 'the last line', 5000)
  },
)

t.test('without a login page, a session is renewed with a token that is pasted', async (t) => {
  const { workspace, origin } = await start(t)
  const page = await open(t)
  await chromium.signIn(page, origin, await workspace.token())
  await page.goto(`${origin}/_gateway/renew?return_to=/logs`)
  t.equal(await page.textContent('h1'), 'Stay signed in')
  await picture(t, page, 'renew')
  await page.fill('input[name=token]', await workspace.token())
  await page.click('button')
  await page.waitForURL(`${origin}/logs`)
  const renewals = () => workspace.requests('/_gateway/renew')
  await until('the line of the renewal', () =>
    renewals().some(({ status, user }) => status === 303 && user === 'alice'),
  )
})
