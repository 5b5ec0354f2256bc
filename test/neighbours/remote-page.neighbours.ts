/** Does a phone reach the workspace through a relay, with nothing but a page and a link? In a real browser, with a real shell. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { BrowserContextOptions, Page } from 'playwright-core'
import t, { type Test } from 'tap'
import { buildRemotePage } from '../../build/remote-page.ts'
import { offerDigits } from '../../src/relay/protocol/offer.ts'
import { RELAY_CLOSE } from '../../src/relay/protocol/relay-wire.ts'
import { FACTOR_CODE, PASSWORD, startPlayedWorkspace } from '../helpers/behind-the-link.ts'
import { startWorkspace } from '../helpers/gateway.ts'
import { startRelayDaemon } from '../helpers/relay-daemon.ts'
import { startTinyRelay } from '../helpers/tiny-relay.ts'
import * as chromium from './chromium.ts'
import { until } from './neighbour.ts'

const AXE = readFileSync(new URL(import.meta.resolve('axe-core/axe.min.js')), 'utf8')
const VIOLATIONS = `axe.run(document).then(({ violations }) => violations.flatMap(({ id, nodes }) => nodes.map(({ html }) => id + ': ' + html)))`

const PHONE = { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true }

/** The widths of the smallest phone, of a usual one, and of a desktop. */
const WIDTHS = [320, 390, 1280]

await chromium.install()
await buildRemotePage()
const browser = await chromium.startChromium()
t.teardown(() => browser.stop())

/** Everything that a phone needs: a page, a relay, and a workspace behind a daemon. */
async function start(t: Test) {
  const relay = await startTinyRelay()
  const workspace = await startPlayedWorkspace(t)
  const gateway = await startWorkspace(t)
  const daemon = await startRelayDaemon(relay.url, {
    ...{ target: workspace.port, host: 'houston.hubify.com' },
  })
  t.teardown(async () => {
    daemon.close()
    await relay.close()
  })
  const address = `${gateway.origin}/_gateway/remote/`
  const link = async () => `${address}#${offerDigits(await daemon.offer())}`
  return { relay, workspace, daemon, address, link }
}

/** Opens an address in a profile of its own, and notes whatever the page's policy forbids and whatever fails. */
async function open(t: Test, url: string, options: BrowserContextOptions = {}, before = '') {
  const page = await browser.open({ ...PHONE, ...options })
  t.teardown(() => page.context().close())
  const complaints: string[] = []
  page.on('console', (message) => {
    if (message.type() === 'error') complaints.push(message.text())
  })
  page.on('pageerror', (error) => complaints.push(String(error)))
  if (before !== '') await page.addInitScript(before)
  await page.goto(url)
  return { page, complaints }
}

const button = (page: Page, name: string) => page.getByRole('button', { name, exact: true })
const connection = (page: Page, text: string) =>
  page.locator('#connection').getByText(text, { exact: true }).waitFor()

/** Pairs, and waits until the workspace is there. */
async function pair(page: Page): Promise<void> {
  await button(page, 'Pair').click()
  await connection(page, 'Connected')
  await page.getByText('dashboard').waitFor()
}

/** What the terminal shows. */
const screenOf = (page: Page) => page.locator('.xterm-rows').innerText()
const shows = (page: Page, pattern: RegExp) =>
  until(String(pattern), async () => pattern.test(await screenOf(page).catch(() => '')))

/** Asserts that a screen fits, and that axe finds nothing, light and dark. */
async function inspect(t: Test, page: Page, name: string): Promise<void> {
  for (const width of WIDTHS) {
    await page.setViewportSize({ width, height: 844 })
    t.equal(await page.evaluate('document.documentElement.scrollWidth'), width, `${name} fits`)
    for (const colorScheme of ['light', 'dark'] as const) {
      await page.emulateMedia({ colorScheme })
      await page.evaluate(AXE)
      t.same(await page.evaluate<string[]>(VIOLATIONS), [], `${name}, ${width}, ${colorScheme}`)
      const folder = process.env['SCREENSHOTS']
      if (folder !== undefined)
        await page.screenshot({
          path: join(folder, `${name}-${width}-${colorScheme}.png`),
          fullPage: true,
        })
    }
  }
  await page.setViewportSize(PHONE.viewport)
  await page.emulateMedia({ colorScheme: 'light' })
}

t.test('a phone pairs by a link, and runs a command in a terminal', async (t) => {
  const { address, link, workspace, daemon, relay } = await start(t)
  const { page, complaints } = await open(t, await link())
  t.equal(page.url(), address, 'the link is not in the address any more')
  t.equal(await page.getByLabel('Name of this device').inputValue(), 'Linux, Chrome')
  await inspect(t, page, 'name')
  await page.getByLabel('Name of this device').fill('Phone')
  await pair(page)
  t.match(await daemon.welcomed(1), { name: 'Phone' })
  t.match(await page.textContent('#services'), /dashboard up.*openclaw down/)
  await inspect(t, page, 'home')

  await button(page, 'Open the terminal').click()
  await shows(page, /\$/)
  await page.keyboard.type('echo "hello $((40+2))"\n')
  await shows(page, /hello 42/)
  t.ok((await page.locator('.keys').boundingBox())?.height, 'with keys that a phone lacks')
  await inspect(t, page, 'terminal')
  await page.keyboard.type('sleep 1000\n')
  await button(page, 'Ctrl').click()
  await page.keyboard.type('c')
  await shows(page, /\^C\s+\$/)
  await page.keyboard.type('exit\n')
  await page.getByText('The shell has ended.').waitFor()
  await button(page, 'Back').click()
  await page.getByRole('heading', { name: 'houston.hubify.com' }).waitFor()
  t.same(complaints, [], 'nothing of it is against the policy of the page')
  const passed = Buffer.concat(relay.frames).toString('latin1')
  t.notMatch(passed, /hello|echo|Phone|houston|alice/, 'and the relay has seen none of it')
  t.ok(workspace.requests.includes('GET /terminal/token'))
})

t.test('a phone that comes back is known, and a forgotten one is not', async (t) => {
  const { address, link, daemon } = await start(t)
  const { page } = await open(t, await link())
  await pair(page)
  const { deviceId } = await daemon.welcomed(1)
  await page.reload()
  await connection(page, 'Connected')
  t.equal((await daemon.welcomed(2)).deviceId, deviceId)
  t.equal(await page.evaluate('localStorage.length'), 0)
  t.match(await page.textContent('#device'), /no script can export it/)

  await button(page, 'Forget this device').click()
  await button(page, 'Forget it now').click()
  await page.getByRole('heading', { name: 'Pair this device' }).waitFor()
  await inspect(t, page, 'start')
  await page.goto(address)
  await page.getByLabel('Pairing link').waitFor()
  await page.getByLabel('Pairing link').fill(await link())
  await button(page, 'Go on').click()
  await pair(page)
  t.not((await daemon.welcomed(3)).deviceId, deviceId, 'it has a new key')
})

t.test('a device that is removed does not take along what another tab has paired', async (t) => {
  const { link, daemon } = await start(t)
  const { page: old } = await open(t, await link())
  await pair(old)
  const removed = await daemon.welcomed(1)
  const page = await old.context().newPage()
  await page.goto(await link())
  await pair(page)
  removed.close('revoked')
  await old.getByText('The owner has removed this device').waitFor()
  await page.reload()
  await connection(page, 'Connected')
  await button(old, 'Back to houston.hubify.com').click()
  await connection(old, 'Connected')
})

t.test('a link that is none does not keep a paired browser from its workspace', async (t) => {
  const { link, address } = await start(t)
  const { page } = await open(t, await link())
  await pair(page)
  await page.goto(`${address}#123`)
  await page.getByText('The link is cut or damaged').waitFor()
  await button(page, 'Back to houston.hubify.com').click()
  await connection(page, 'Connected')
})

t.test('a device waits with a code, and is let in while the page is open', async (t) => {
  const { link, daemon } = await start(t)
  daemon.state = 'waiting'
  const { page } = await open(t, await link())
  await button(page, 'Pair').click()
  const channel = await daemon.welcomed(1)
  await page.getByText(channel.code).waitFor()
  await connection(page, 'Waiting')
  await inspect(t, page, 'waiting')
  channel.tell({ kind: 'approved', name: 'Phone' })
  await connection(page, 'Connected')
  channel.tell({ kind: 'device-waiting', name: 'Somebody’s laptop' })
  await page.getByText('Another device, Somebody’s laptop, waits for approval.').waitFor()
  channel.close('revoked')
  await page.getByText('The owner has removed this device; pair it again to come back.').waitFor()
  await inspect(t, page, 'revoked')
  await page.reload()
  await page.getByLabel('Pairing link').waitFor()
})

t.test('requests are answered, and a long answer is cut', async (t) => {
  const { link, workspace } = await start(t)
  const { page } = await open(t, await link())
  await pair(page)
  await page.getByLabel('Method').selectOption('POST')
  await page.getByLabel('Path').fill('/echo')
  await page.getByLabel('Body, JSON').fill('{"a":1}')
  await button(page, 'Send').click()
  await page.locator('.answer').getByText('"method": "POST"').waitFor()
  t.match(await page.textContent('.answer'), /200 application\/json/)
  await inspect(t, page, 'request')
  await page.getByLabel('Method').selectOption('GET')
  await page.getByLabel('Path').fill('/long')
  await button(page, 'Send').click()
  await page.getByText('Only the beginning is shown.').waitFor()
  await page.getByLabel('Path').fill('not a path')
  await button(page, 'Send').click()
  await page.getByRole('alert').waitFor()
  t.same(
    workspace.requests.filter((one) => !one.includes('_gateway')),
    ['POST /echo', 'GET /long'],
  )
})

t.test('the terminal asks for a second factor, and for its password', async (t) => {
  const { link, workspace } = await start(t)
  workspace.wants = { factor: true, password: true }
  const { page } = await open(t, await link())
  await pair(page)
  await button(page, 'Open the terminal').click()
  const code = page.getByLabel('Code of your authenticator app')
  await code.fill('000000')
  await button(page, 'Open the terminal').click()
  await page.getByText('That code is not right.').waitFor()
  await inspect(t, page, 'factor')
  await code.fill(FACTOR_CODE)
  await button(page, 'Open the terminal').click()
  await page.getByLabel('User').fill(PASSWORD.user)
  await page.getByLabel('Password').fill('wrong')
  await button(page, 'Open the terminal').click()
  await page.getByText('That user and password are not right.').waitFor()
  await page.getByLabel('User').fill(PASSWORD.user)
  await page.getByLabel('Password').fill(PASSWORD.password)
  await button(page, 'Open the terminal').click()
  await shows(page, /\$/)
})

t.test('a lost connection comes back, with the terminal', async (t) => {
  const { link, relay, daemon } = await start(t)
  const { page } = await open(t, await link())
  await pair(page)
  await button(page, 'Open the terminal').click()
  await shows(page, /\$/)
  relay.cut()
  await daemon.welcomed(2)
  await page.locator('.notice').waitFor({ state: 'hidden' })
  await page.keyboard.type('echo "again $((1+1))"\n')
  await shows(page, /again 2/)
})

t.test('a phone that slept notices at once that its connection is dead', async (t) => {
  const { link, relay, daemon } = await start(t)
  const { page } = await open(t, await link())
  await pair(page)
  await button(page, 'Open the terminal').click()
  await shows(page, /\$/)
  const { knocks } = relay
  relay.change = (frame) => (relay.knocks === knocks ? undefined : frame)
  await page.evaluate(`document.dispatchEvent(new Event('visibilitychange'))`)
  await daemon.welcomed(2)
  await page.locator('.notice').waitFor({ state: 'hidden' })
  await page.keyboard.type('echo "awake $((1+1))"\n')
  await shows(page, /awake 2/)

  await page.keyboard.type('exit\n')
  await page.getByText('The shell has ended.').waitFor()
  relay.cut()
  await daemon.welcomed(3)
  await button(page, 'Back').click()
  await connection(page, 'Connected')
  t.equal(await page.locator('.terminal-view').count(), 0, 'a shell that has ended stays so')
})

/** A browser that keeps no X25519 keys, as Safari did: it takes them, and gives back nothing. */
const LOSES_KEYS = `{
  const put = IDBObjectStore.prototype.put
  const isLost = (value) => value instanceof CryptoKey && LOST.includes(value.algorithm.name)
  IDBObjectStore.prototype.put = function (value, key) {
    const secret = Object.fromEntries(Object.entries(value.secret ?? {}).map(([name, one]) => [name, isLost(one) ? null : one]))
    return put.call(this, { ...value, secret }, key)
  }
}`

t.test('a browser that loses X25519 keys keeps them encrypted', async (t) => {
  const { link, daemon } = await start(t)
  const script = LOSES_KEYS.replace('LOST', `['X25519']`)
  const { page, complaints } = await open(t, await link(), {}, script)
  await pair(page)
  t.match(await page.textContent('#device'), /encrypted; no script can export it/)
  const { deviceId } = await daemon.welcomed(1)
  await page.reload()
  await connection(page, 'Connected')
  t.equal((await daemon.welcomed(2)).deviceId, deviceId)
  t.same(complaints, [])
})

t.test('a browser that keeps no key says so, and pairs for this visit', async (t) => {
  const { link } = await start(t)
  const script = LOSES_KEYS.replace('LOST', `['X25519', 'AES-GCM']`)
  const { page } = await open(t, await link(), {}, script)
  await pair(page)
  await page.getByText('This browser does not keep keys.').waitFor()
  await inspect(t, page, 'this-visit')
  await page.reload()
  await page.getByLabel('Pairing link').waitFor()
})

const WITHOUT_X25519 = `{
  const { generateKey } = SubtleCrypto.prototype
  SubtleCrypto.prototype.generateKey = function (algorithm, ...rest) {
    return algorithm.name === 'X25519' ? Promise.reject(new DOMException('', 'NotSupportedError')) : generateKey.call(this, algorithm, ...rest)
  }
}`

for (const [old, script] of [
  ['X25519', WITHOUT_X25519],
  ['what came with ES2024', 'delete Promise.withResolvers'],
] as const)
  t.test(`a browser without ${old} is told at once what would do`, async (t) => {
    const { link, relay } = await start(t)
    const url = await link()
    const { page } = await open(t, url, {}, script)
    await page.getByText('Chrome 133, Firefox 130 or Safari 17.4').waitFor()
    await page.getByRole('heading', { name: 'This browser is too old' }).waitFor()
    t.equal(page.url(), url, 'the link can be opened in another one')
    t.equal(relay.knocks, 0, 'and is still good')
    await inspect(t, page, 'too-old')
  })

t.test('a page of plain HTTP on another host says that it needs HTTPS', async (t) => {
  const { link } = await start(t)
  // What such a page sees (Secure Contexts, Web Cryptography section 10).
  const script = `
    Object.defineProperty(globalThis, 'isSecureContext', { value: false })
    Object.defineProperty(crypto, 'subtle', { value: undefined })`
  const { page } = await open(t, await link(), {}, script)
  await page.getByRole('heading', { name: 'This page needs HTTPS' }).waitFor()
})

t.test('a terminal that is opened while the relay is away opens when it is back', async (t) => {
  const { link, relay, daemon } = await start(t)
  const { page } = await open(t, await link())
  await pair(page)
  relay.refuse = { code: RELAY_CLOSE.restart, reason: '' }
  relay.cut()
  await connection(page, 'Connecting')
  await button(page, 'Open the terminal').click()
  // It says that there is no connection. Half a second later at most, the next attempt replaces that text with the reason.
  await page.locator('.notice').filter({ hasNotText: 'Opening the terminal…' }).waitFor()
  relay.refuse = undefined
  await page.evaluate(`dispatchEvent(new Event('online'))`)
  await daemon.welcomed(2)
  await shows(page, /\$/)
})

t.test('a page that cannot reach the relay goes on trying, and says so', async (t) => {
  const { link, relay } = await start(t)
  const { page } = await open(t, await link())
  relay.refuse = { code: RELAY_CLOSE.restart, reason: '' }
  await button(page, 'Pair').click()
  await page.getByText('The page tries again by itself.').waitFor()
  await inspect(t, page, 'trying')
  await button(page, 'Cancel').click()
  await page.getByLabel('Pairing link').waitFor()
})

t.test('on a phone that lies on its side, all of the password form can be reached', async (t) => {
  const { link, workspace } = await start(t)
  workspace.wants.password = true
  const { page } = await open(t, await link())
  await pair(page)
  await button(page, 'Open the terminal').click()
  // As much as a keyboard leaves.
  await page.setViewportSize({ width: 740, height: 200 })
  for (const label of ['User', 'Password']) {
    const input = page.getByLabel(label)
    await input.scrollIntoViewIfNeeded()
    const { y = -1 } = (await input.boundingBox()) ?? {}
    const { y: top = 0 } = (await page.locator('.screen-place').boundingBox()) ?? {}
    t.ok(y >= top, `${label} is in sight`)
  }
})

t.test(
  'a link that is damaged, or of nobody, is explained, and the workspace of before stays',
  async (t) => {
    const { address, link, daemon, relay } = await start(t)
    const { page } = await open(t, `${address}#123`)
    await page.getByRole('alert').waitFor()
    await page.getByLabel('Pairing link').fill('nothing')
    await button(page, 'Go on').click()
    await page.getByText('The link has no offer behind its #.').waitFor()
    await page.getByLabel('Pairing link').fill(await link())
    await button(page, 'Go on').click()
    await pair(page)
    const { deviceId } = await daemon.welcomed(1)

    relay.refuse = { code: RELAY_CLOSE.nobodyThere, reason: '' }
    await page.goto(await link())
    await page.getByText('This browser is paired with houston.hubify.com.').waitFor()
    await inspect(t, page, 'replace')
    await button(page, 'Pair').click()
    await page.getByText('Nobody answers for this link').waitFor()
    await inspect(t, page, 'ended')
    relay.refuse = undefined
    await button(page, 'Back to houston.hubify.com').click()
    await connection(page, 'Connected')
    t.equal((await daemon.welcomed(2)).deviceId, deviceId)
  },
)

t.test('the page works by keyboard alone', async (t) => {
  const { link } = await start(t)
  const { page } = await open(t, await link(), { hasTouch: false, isMobile: false })
  const name = page.getByLabel('Name of this device')
  await name.focus()
  await page.keyboard.press('Enter')
  await connection(page, 'Connected')
  await page.getByText('dashboard').waitFor()
  await page.keyboard.press('Tab')
  await page.keyboard.press('Enter')
  await shows(page, /\$/)
  await page.keyboard.press('Shift+Escape')
  t.equal(await page.evaluate('document.activeElement.textContent'), 'Back')
  await page.keyboard.press('Enter')
  await page.getByRole('heading', { name: 'houston.hubify.com' }).waitFor()
  t.equal(await page.evaluate('document.activeElement.textContent'), 'Open the terminal')
})
