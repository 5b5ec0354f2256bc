/** Does a real Next.js dashboard work in a real browser, through Caddy and a gateway with the default limits? */
import { join } from 'node:path'
import type { Page } from 'playwright-core'
import t, { type Test } from 'tap'
import { startUpstream } from '../helpers/upstream.ts'
import { startCaddy } from './caddy.ts'
import { startChromium, type Chromium } from './chromium.ts'
import { FOLDER, freePort, startProgram, until } from './neighbour.ts'
import { startNext } from './next.ts'
import { DOMAIN, startWorkspace } from './workspace.ts'

const MAIN = new URL('../../src/main.ts', import.meta.url).pathname
const HOST = `houston.${DOMAIN}`

/** The page that a signed-out user opens. */
const DEEP_LINK = '/rooms/kitchen?tab=two&back=%2Fnotes'

async function startAll(t: Test, mode: 'start' | 'dev') {
  const next = await startNext(FOLDER, mode)
  t.teardown(() => next.stop())
  const terminal = await startUpstream(t, (_request, response) => {
    response.writeHead(200, { 'Content-Type': 'text/html' }).end('<h1>a terminal</h1>')
  })
  const port = await freePort()
  const workspace = await startWorkspace({ dashboard: next.url, terminal: terminal.url, port })
  t.teardown(() => workspace.stop())
  const caddy = await startCaddy({ [HOST]: port })
  t.teardown(() => caddy.stop())
  const chromium = await startChromium()
  t.teardown(() => chromium.stop())
  return { next, terminal, workspace, chromium, origin: caddy.origin(HOST) }
}

interface SeenAnswer {
  readonly method: string
  /** The path and query. */
  readonly target: string
  readonly status: number
  /** The type of the request: document, script, image, fetch … */
  readonly kind: string
  /** The gateway's error code, if the gateway itself responded. */
  readonly own: string | undefined
}

/** Opens a page in a profile of its own and records its responses. */
async function openWatched(chromium: Chromium): Promise<{ page: Page; answers: SeenAnswer[] }> {
  const page = await chromium.open()
  const answers: SeenAnswer[] = []
  page.on('response', (response) => {
    const { pathname, search } = new URL(response.url())
    answers.push({
      method: response.request().method(),
      target: pathname + search,
      status: response.status(),
      kind: response.request().resourceType(),
      own: response.headers()['x-gateway-error'],
    })
  })
  return { page, answers }
}

/** Waits until the scripts of a page run. */
async function alive(page: Page): Promise<void> {
  await page.getByText('alive', { exact: true }).waitFor()
}

/** Opens a page and waits until its scripts run. */
async function openHome(page: Page, origin: string): Promise<void> {
  await page.goto(`${origin}/`)
  await alive(page)
  await page.waitForLoadState('networkidle')
}

/** Signs in on the page to which the browser was sent. */
async function signInHere(page: Page, token: string): Promise<void> {
  await page.fill('input[name=token]', token)
  await page.click('button')
}

t.test('next start', async (t) => {
  const all = await startAll(t, 'start')
  const { chromium, workspace, origin } = all
  const { page, answers } = await openWatched(chromium)

  await t.test('a signed-out browser returns to the page that it opened', async (t) => {
    await page.goto(origin + DEEP_LINK)
    t.equal(await page.locator('#tab').count(), 0, 'not there yet')
    await signInHere(page, await workspace.token('alice'))
    await page.waitForURL(origin + DEEP_LINK)
    await page.getByText('tab two').waitFor()
    t.pass('with its query')
  })

  await t.test('a page with many parts loads completely, and its scripts run', async (t) => {
    answers.length = 0
    await openHome(page, origin)
    const prefetches = () => answers.filter(({ target }) => target.includes('_rsc='))
    await until('prefetches', () => prefetches().length >= 6)
    const broken = 'Array.from(document.images).filter((image) => !image.naturalWidth).length'
    await until('all pictures to be shown', async () => (await page.evaluate(broken)) === 0)
    const images = () => answers.filter(({ kind }) => kind === 'image')
    await until('pictures', () => images().length >= 37)
    const kinds = Map.groupBy(answers, ({ kind }) => kind)
    const counts = [...kinds].map(([kind, { length }]) => `${length} ${kind}`)
    t.comment(`${answers.length} requests: ${counts.join(', ')}`)
    t.ok(answers.length > 50, `${answers.length} requests`)
    const optimized = answers.find(({ target }) => target.startsWith('/_next/image'))
    t.equal(optimized?.status, 200, 'the optimizer works')
    await page.screenshot({ path: join(FOLDER, 'screenshots/dashboard.png') })
  })

  await t.test('a link in the dashboard navigates without a page load', async (t) => {
    answers.length = 0
    await page.getByRole('link', { name: 'library' }).click()
    await page.getByRole('heading', { name: 'library' }).waitFor()
    await page.getByRole('link', { name: 'now' }).click()
    await page.getByText('alice at houston').waitFor()
    t.same(
      answers.filter(({ kind }) => kind === 'document'),
      [],
      'no document was asked for, and the dashboard knows who is signed in',
    )
  })

  await t.test('a link to the terminal is not prefetched, and loads a page', async (t) => {
    await openHome(page, origin)
    const prefetches = () => answers.filter(({ target }) => /^\/terminal\?_rsc=/.test(target))
    await until('Next to ask for it', () => prefetches().length > 0)
    for (const { status, own } of prefetches()) t.match({ status, own }, { status: 404 })
    t.equal(all.terminal.requests.length, 0, 'the terminal was not asked')
    await page.getByRole('link', { name: 'terminal' }).click()
    await page.getByRole('heading', { name: 'a terminal' }).waitFor()
    t.equal(new URL(page.url()).pathname, '/terminal')
  })

  await t.test('a Server Action runs', async (t) => {
    await page.goto(`${origin}/notes`)
    answers.length = 0
    await page.fill('input[name=note]', 'scripted')
    await alive(page) // before that, a click would submit the form without scripts
    await page.getByRole('button', { name: 'keep' }).click()
    await page.getByText('kept SCRIPTED').waitFor()
    const post = await until('the answer', () => answers.find(({ method }) => method === 'POST'))
    t.match(post, { kind: 'fetch', target: '/notes', status: 200 })
  })

  await t.test('a Server Action runs without scripts', async (t) => {
    const plain = await chromium.open({ javaScriptEnabled: false })
    await plain.goto(`${origin}/notes`)
    await signInHere(plain, await workspace.token('alice'))
    await plain.fill('input[name=note]', 'plain')
    await plain.getByRole('button', { name: 'keep' }).click()
    await plain.getByText('kept PLAIN').waitFor()
    t.pass('as a form that is posted')
    await plain.context().close()
  })

  await t.test('a streamed response arrives as it is sent', async (t) => {
    await page.goto(`${origin}/late?gate=page`, { waitUntil: 'commit' })
    await page.locator('#waiting').waitFor()
    t.equal(await page.locator('#late').count(), 0)
    await page.evaluate(`fetch('/gate?name=page', { method: 'POST' })`)
    await page.locator('#late').waitFor()
    t.pass('the second part of a page')
    const said = await page.evaluate(`new Promise((resolve, reject) => {
      const said = []
      const source = new EventSource('/events?gate=events')
      source.onerror = () => reject(new Error('the stream ended after ' + said))
      source.onmessage = ({ data }) => {
        said.push(data)
        if (said.length === 1) fetch('/gate?name=events', { method: 'POST' })
        else resolve(said) || source.close()
      }
    })`)
    t.same(said, ['first', 'second'], 'events')
  })

  await t.test('no request of these tests reached a rate limit', async (t) => {
    await openHome(page, origin)
    const ours = ['dashboard', 'terminal', 'gateway']
    const lines = () => workspace.logLines().filter(({ route }) => ours.includes(route as string))
    await until('the lines of 200 requests', () => lines().length > 200)
    t.comment(`${lines().length} requests in all`)
    const refusals = new Set(lines().map(({ code }) => code as string | undefined))
    refusals.delete(undefined)
    t.same(refusals, new Set(['sign-in-required', 'not-found']), 'and nothing else was refused')
  })

  await t.test('the doctor finds no fault', async (t) => {
    const doctor = startProgram(process.execPath, [MAIN, 'doctor'], { env: workspace.env })
    await doctor.exited
    t.match(doctor.output(), /^pass +dashboard-answers .* answered \/ with 200/m)
    t.match(doctor.output(), /^pass +clock .* the dashboard/m)
  })
})

t.test('next dev', async (t) => {
  const { next, workspace, chromium, origin } = await startAll(t, 'dev')
  const { page, answers } = await openWatched(chromium)
  const frames: string[] = []
  page.on('websocket', (socket) => {
    if (!socket.url().includes('/_next/hmr')) return
    socket.on('framereceived', ({ payload }) => frames.push(String(payload)))
  })
  await page.goto(`${origin}/rooms/kitchen`)
  await signInHere(page, await workspace.token('alice'))
  await page.getByText('tab none').waitFor()
  await until('the socket for changes', () => frames.some((frame) => frame.includes('"sync"')))
  await page.waitForLoadState('networkidle')
  answers.length = 0
  next.edit('app/rooms/[room]/tab.tsx', 'tab {', 'changed {')
  await page.getByText('changed none').waitFor({ timeout: 60_000 })
  t.same(
    answers.filter(({ kind }) => kind === 'document'),
    [],
    'an edit shows without loading the page again',
  )
  await page.close()
  await until('the line of the socket', () => workspace.requests('/_next/hmr').length > 0)
  const upgrades = workspace.requests('/_next/hmr')
  t.match(upgrades, [{ status: 101, user: 'alice' }], 'one socket, that stayed')
  const limited = workspace.logLines().filter(({ status }) => status === 429)
  t.same(limited, [], 'and nothing met a limit')
})
