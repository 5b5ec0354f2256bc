/**
 * Can people use the gateway's own pages: on a phone, with a keyboard alone, with a screen reader, without script, and when
 * something is broken? In a real browser.
 */
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { Secret, TOTP } from 'otpauth'
import type { BrowserContextOptions, Page } from 'playwright-core'
import t, { type Test } from 'tap'
import { mintToken } from '../../src/identity/mint.ts'
import { startBuiltIn } from './built-in.ts'
import * as chromium from './chromium.ts'
import { until } from './neighbour.ts'

const AXE = readFileSync(new URL(import.meta.resolve('axe-core/axe.min.js')), 'utf8')

/** What a page may weigh as it is transferred, with its scripts, in bytes. */
const PAGE_BYTES = 30_000

await chromium.install()
const browser = await chromium.startChromium()
t.teardown(() => browser.stop())

// A service that can go away and come back at the same address.
const service = createServer((_request, response) => response.end('it is up'))
const listen = (port: number) =>
  new Promise<void>((resolve) => service.listen(port, '127.0.0.1', resolve))
const hangUp = () =>
  new Promise((resolve) => {
    service.close(resolve)
    service.closeAllConnections()
  })
await listen(0)
const { port: servicePort } = service.address() as AddressInfo
t.teardown(() => service.closeAllConnections())
t.teardown(() => service.close())

const { folder, link, httpCredentials } = await startBuiltIn(t, {
  GATEWAY_SECOND_FACTOR: 'local',
  GATEWAY_API_URL: `http://127.0.0.1:${servicePort}`,
  GATEWAY_TRUSTED_PROXIES: 'loopback', // each profile has an address, and its limit, of its own
})
const { origin } = new URL(link)
const secret = readFileSync(join(folder, '.workspace', 'jwt-secret'), 'utf8').trim()
const tokenFor = (subject: string) =>
  mintToken({ secret, workspace: 'local', subject, ttlSeconds: 600 })

const OWNER_PAGE = '/_gateway/'
const VERIFY = '/_gateway/verify-2fa?next=/_gateway/'

/** What the browser said about scripts, styles and requests that a page's policy forbids, and errors of scripts. */
const complaints: string[] = []

let lastAddress = 0
const newAddress = () => ({ 'X-Forwarded-For': `203.0.113.${(lastAddress += 1)}` })

/** Opens a profile of its own, which comes from an address of its own. */
async function openProfile(t: Test, options: BrowserContextOptions = {}): Promise<Page> {
  const page = await browser.open({
    httpCredentials,
    extraHTTPHeaders: newAddress(),
    viewport: { width: 320, height: 568 },
    ...options,
  })
  t.teardown(() => page.context().close())
  page.context().on('console', (message) => {
    if (/security policy|refused to/i.test(message.text())) complaints.push(message.text())
  })
  page.context().on('weberror', (error) => complaints.push(String(error.error())))
  return page
}

const visit = (page: Page, path: string) => page.goto(origin + path)

/** Opens a profile in which somebody is signed in. */
async function openSignedIn(
  t: Test,
  subject: string,
  options: BrowserContextOptions = {},
): Promise<Page> {
  const page = await openProfile(t, options)
  await visit(page, `/_gateway/sign-in?token=${await tokenFor(subject)}`)
  return page
}

const press = (page: Page, name: string) =>
  page.getByRole('button', { name, exact: true }).first().click()

/** Types into the field that has the focus, which a new page gives it soon after it is there. */
async function typeInFocus(page: Page, text: string): Promise<void> {
  await page.locator('input:focus').waitFor()
  await page.keyboard.type(text)
  await until(
    'what was typed',
    async () => (await page.locator('input:focus').inputValue()) === text,
  )
}

/** Types a code into the form, and sends it. */
async function sendCode(page: Page, code: string): Promise<void> {
  await page.fill('#code', code)
  await press(page, 'Confirm')
}

/** Sets up an authenticator app. The page with its QR code is open before. @returns backup codes */
async function confirmApp(page: Page): Promise<string[]> {
  const base32 = (await page.locator('code.secret').textContent()) ?? ''
  await sendCode(
    page,
    new TOTP({ secret: Secret.fromBase32(base32.replaceAll(' ', '')) }).generate(),
  )
  return page.locator('.codes code').allTextContents()
}

/** Sets up an authenticator app for somebody who is signed in. @returns backup codes */
async function enrol(page: Page): Promise<string[]> {
  await visit(page, VERIFY)
  await press(page, 'Set up an authenticator app')
  return confirmApp(page)
}

const headingOf = (page: Page) => page.locator('h1').textContent()

/** Waits for the page with a heading. */
const shows = (page: Page, heading: string) =>
  page.getByRole('heading', { level: 1, name: heading, exact: true }).waitFor()

/** What a page cost, after its first paint. Scripts that the browser had already count as if it had not. */
const FIGURES = `new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))).then(() => {
  const entries = ['navigation', 'resource'].flatMap((type) => performance.getEntriesByType(type))
  const [paint] = performance.getEntriesByName('first-contentful-paint')
  return {
    bytes: entries.reduce((sum, { transferSize, encodedBodySize }) => sum + (transferSize || encodedBodySize), 0),
    arrived: Math.round(entries[0].responseEnd),
    painted: Math.round(paint?.startTime ?? NaN),
  }
})`

const axe = (options: string) =>
  `axe.run(${options}).then(({ violations }) => violations.flatMap(({ id, nodes }) => nodes.map(({ html }) => id + ': ' + html)))`

/** Asserts that a page fits a small phone, and that axe finds nothing in it, light and dark. */
async function inspectLooks(t: Test, page: Page, name: string): Promise<void> {
  t.equal(await page.evaluate('document.documentElement.scrollWidth'), 320, `${name} fits`)
  await page.evaluate(AXE)
  await page.emulateMedia({ colorScheme: 'light' })
  t.same(await page.evaluate<string[]>(axe('')), [], `${name}, light`)
  await page.emulateMedia({ colorScheme: 'dark' })
  const colours = axe("{ runOnly: ['color-contrast'] }") // nothing else differs
  t.same(await page.evaluate<string[]>(colours), [], `${name}, dark`)
}

/** Asserts what is true of every page: it is small, and what {@link inspectLooks} says. Prints its figures. */
async function inspect(t: Test, page: Page, name: string): Promise<void> {
  const { bytes, arrived, painted } =
    await page.evaluate<Record<'bytes' | 'arrived' | 'painted', number>>(FIGURES)
  t.comment(`${name}: ${bytes} bytes, there after ${arrived} ms, painted after ${painted} ms`)
  t.ok(bytes > 1000 && bytes < PAGE_BYTES, `${name}: ${bytes} bytes`)
  await inspectLooks(t, page, name)
}

t.test('every page is small, fits a small phone, and axe finds nothing', async (t) => {
  const nobody = await openProfile(t)
  await visit(nobody, '/')
  await inspect(t, nobody, 'sign in')
  await nobody.fill('#token', 'nonsense')
  await press(nobody, 'Sign in')
  await inspect(t, nobody, 'sign in again')

  const ticket = `/_gateway/sign-in?token=${await tokenFor('alice')}`
  const page = await openProfile(t)
  await visit(page, ticket)
  await visit(nobody, ticket)
  await inspect(t, nobody, 'a link that was used')
  await nobody.goto(
    `data:text/html,<a href="${origin}/_gateway/sign-in?token=${await tokenFor('mallory')}">x</a>`,
  )
  await nobody.click('a')
  await shows(nobody, 'Sign in to this workspace?')
  await inspect(t, nobody, 'a question')

  await visit(page, OWNER_PAGE)
  await inspect(t, page, 'the workspace of a newcomer')
  await visit(page, '/terminal')
  await inspect(t, page, 'to set up a factor')
  await press(page, 'Set up an authenticator app')
  await page.getByText('Type it instead').click()
  await inspect(t, page, 'to set up an app')
  await sendCode(page, '000000')
  await inspect(t, page, 'a wrong first code')
  const codes = await confirmApp(page)
  await inspect(t, page, 'backup codes')

  await visit(page, OWNER_PAGE)
  await page.getByText('Make a token').click()
  await inspect(t, page, 'to make a token')
  await page.fill('#token-name', `ci-${'0'.repeat(61)}`)
  await press(page, 'Make the token')
  await inspect(t, page, 'to confirm')
  await sendCode(page, codes[0] ?? '')
  await shows(page, 'Your new token')
  await inspect(t, page, 'a new token')

  await visit(page, OWNER_PAGE)
  await page.getByText('Pair a device', { exact: true }).click()
  await inspect(t, page, 'to pair a device')
  await press(page, 'Make a pairing link')
  await sendCode(page, codes[2] ?? '')
  await shows(page, 'Pair a device')
  await inspectLooks(t, page, 'a pairing link') // its weight is that of the picture
  const device = await openProfile(t)
  await device.goto((await page.locator('code.secret').textContent()) ?? '')
  await device.getByRole('button', { name: 'Pair', exact: true }).click()
  await shows(device, 'Waiting for approval')
  await visit(page, OWNER_PAGE)
  await page.locator('#devices').getByText('The device shows the code').waitFor()
  await inspect(t, page, 'a device that waits')
  await page.getByLabel(/^Let in: /).focus()
  await page.keyboard.press('Enter')
  await page.getByText(/Let in, as you, the device that shows the code/).waitFor()
  await inspect(t, page, 'to let a device in')
  await sendCode(page, codes[3] ?? '')
  await page.getByText('The device is let in.').waitFor()
  await inspect(t, page, 'a paired device')

  const devtools = await page.context().newCDPSession(page)
  await devtools.send('WebAuthn.enable')
  await devtools.send('WebAuthn.addVirtualAuthenticator', {
    options: {
      ...{ protocol: 'ctap2', transport: 'internal', hasResidentKey: true },
      ...{ hasUserVerification: true, isUserVerified: true },
    },
  })
  await visit(page, OWNER_PAGE)
  await press(page, 'Add a passkey')
  await sendCode(page, codes[1] ?? '')
  await shows(page, 'Set up a passkey')
  await inspect(t, page, 'to set up a passkey')
  await page.fill('#name', 'a name that is as long as a name may be, which is 64 characters!')
  await press(page, 'Create the passkey')
  await shows(page, 'Your account')

  const other = await openSignedIn(t, 'alice')
  await visit(other, '/terminal')
  await shows(other, 'Confirm that it is you')
  await inspect(t, other, 'to verify')
  await sendCode(other, '000000')
  await inspect(t, other, 'a wrong code')

  const terminals = (states: string) =>
    until(`terminals: ${states}`, async () => {
      await visit(page, OWNER_PAGE)
      const badges = await page.locator('#terminals .badge').allTextContents()
      return badges.toSorted().join() === states
    })
  const terminal = await page.context().newPage()
  await visit(terminal, '/terminal')
  await terminals('attached')
  await terminal.close()
  await terminals('parked')
  await visit(await page.context().newPage(), '/terminal')
  await terminals('attached,parked')
  await inspect(t, page, 'a full workspace')
  await visit(page, '/_gateway/renew?return_to=/')
  await inspect(t, page, 'to renew')
  await visit(page, '/_gateway/nothing')
  await inspect(t, page, 'not found')
  await visit(page, '/.env')
  await inspect(t, page, 'refused')

  await until('too many wrong codes', async () => {
    await visit(other, VERIFY)
    await sendCode(other, '000000')
    return (await other.textContent('main'))?.includes('Too many codes were wrong')
  })
  await inspect(t, other, 'a locked app')
  await visit(page, OWNER_PAGE)
  await inspect(t, page, 'the workspace with a locked app')
  await page.getByLabel('Revoke: ci-').click()
  await page.getByText('The token is revoked.').waitFor()
  await inspect(t, page, 'the workspace after an act')

  const cookies = await page.context().cookies()
  await press(page, 'Sign out')
  await shows(page, 'You are signed out')
  await inspect(t, page, 'signed out')
  await page.context().addCookies(cookies)
  await visit(page, '/')
  await shows(page, 'Your session has ended')
  await inspect(t, page, 'session ended')
})

/** Asks until the address of this profile may ask no more, and opens the page that says so. */
async function exhaust(page: Page): Promise<void> {
  await Promise.all(Array.from({ length: 10 }, () => page.request.get(`${origin}/`)))
  await until('the end of the limit', async () => (await visit(page, '/'))?.status() === 429)
}

t.test('too many requests: the page counts down, and then goes on by itself', async (t) => {
  const seen = await openProfile(t)
  await exhaust(seen)
  await inspect(t, seen, 'too many requests')
  const page = await openProfile(t)
  await page.clock.install()
  await exhaust(page)
  const again = page.locator('#again')
  const secondsLeft = async () =>
    Number(/ in (\d+) s$/.exec((await again.textContent()) ?? '')?.[1])
  const before = await secondsLeft()
  t.ok(before > 5 && before <= 60, `${before} s`)
  t.equal(await again.getAttribute('aria-disabled'), 'true')
  await page.clock.runFor(5000)
  t.ok((await secondsLeft()) <= before - 5)
  await again.click({ force: true })
  t.equal(await headingOf(page), 'Too many requests', 'the button waits')
  await page.context().setExtraHTTPHeaders(newAddress()) // in place of waiting for a minute
  await page.clock.runFor(60_000)
  await shows(page, 'Sign in to this workspace')
})

t.test('a service that does not answer: the page goes on by itself when it is up', async (t) => {
  await hangUp()
  const page = await openSignedIn(t, 'bob')
  const answer = await visit(page, '/api/v1/models')
  t.equal(answer?.headers()['x-gateway-error'], 'upstream-unreachable')
  await inspect(t, page, 'waking up')
  await page.clock.install()
  await visit(page, '/api/v1/models')
  const late = page.getByText('It has not come up for a minute.')
  const asked: string[] = []
  page.on('request', (request) => asked.push(new URL(request.url()).pathname))
  const askAgain = () =>
    Promise.all([page.waitForResponse('**/_gateway/ready'), page.clock.runFor(10_000)])
  await askAgain()
  t.notOk(await late.isVisible())
  await page.clock.runFor(60_000)
  await until('what an owner can do', async () => {
    await askAgain()
    return late.isVisible()
  })
  t.match(await page.textContent('main'), 'workspace-gateway doctor')
  await inspectLooks(t, page, 'waking up late')
  t.notOk(asked.includes('/api/v1/models'), 'the service itself is not asked')
  await listen(servicePort)
  await until('the service', async () => {
    await page.clock.runFor(10_000)
    return (await page.textContent('body')) === 'it is up'
  })
})

t.test('both go on by a link where no script runs', async (t) => {
  const limited = await openProfile(t, { javaScriptEnabled: false })
  await exhaust(limited)
  await limited.context().setExtraHTTPHeaders(newAddress())
  await limited.getByRole('link', { name: 'Try again' }).click()
  await shows(limited, 'Sign in to this workspace')

  await hangUp()
  const page = await openSignedIn(t, 'bob', { javaScriptEnabled: false })
  await visit(page, '/api/v1/models')
  await listen(servicePort)
  await page.click('text=Try now')
  await page.getByText('it is up').waitFor()
})

/** Presses Tab until an element with this name has the focus. */
async function tabTo(page: Page, name: string): Promise<void> {
  const focused = () =>
    page.evaluate<string>(`{
      const { activeElement: one } = document
      const words = one.getAttribute('aria-label') ?? one.labels?.[0]?.textContent ?? one.textContent
      words.trim()
    }`)
  for (let i = 0; i < 60; i += 1) {
    await page.keyboard.press('Tab')
    const words = await focused()
    if (words === name) return
  }
  throw new Error(`nothing with the name ${name} can be reached`)
}

t.test(
  'with a keyboard alone: from the sign-in to a token that was made and revoked',
  async (t) => {
    const page = await openProfile(t, { viewport: { width: 1280, height: 800 } })
    const codes = await enrol(await openSignedIn(t, 'carol'))
    const { keyboard } = page
    await visit(page, OWNER_PAGE)
    await typeInFocus(page, await tokenFor('carol'))
    await keyboard.press('Enter')
    await shows(page, 'Your account') // back to where the sign-in was asked for
    await tabTo(page, 'Skip to the content')
    await keyboard.press('Enter')
    await tabTo(page, 'Make a token')
    await keyboard.press('Space')
    await keyboard.press('Tab')
    await typeInFocus(page, 'by-keyboard')
    await tabTo(page, 'chat')
    await keyboard.press('Space')
    await tabTo(page, 'Make the token')
    await keyboard.press('Enter')
    await shows(page, 'Confirm that it is you')
    await typeInFocus(page, codes[0] ?? '')
    await keyboard.press('Enter')
    await shows(page, 'Your new token')
    t.match(await page.textContent('#secret-0'), /^hub_\w{32}$/)
    await tabTo(page, 'Back to your account')
    await keyboard.press('Enter')
    await page.getByText('api, chat;').waitFor()
    await tabTo(page, 'Revoke: by-keyboard')
    await keyboard.press('Space')
    await page.getByText('The token is revoked.').waitFor()
    t.notMatch(await page.textContent('#tokens'), 'by-keyboard')
  },
)

t.test('without script: a code, a token, the end of a session, and the way out', async (t) => {
  const page = await openSignedIn(t, 'dave', { javaScriptEnabled: false })
  const codes = await enrol(page)
  t.equal(codes.length, 10)
  const other = await openSignedIn(t, 'dave', { javaScriptEnabled: false })
  await visit(other, VERIFY)
  await sendCode(other, codes[0] ?? '')
  await shows(other, 'Your account')
  t.match(await other.textContent('#factors'), '9 of 10 left')

  await other.click('text=Make a token')
  await other.fill('#token-name', 'plain')
  await press(other, 'Make the token')
  await sendCode(other, codes[1] ?? '')
  t.match(await other.textContent('#secret-0'), /^hub_\w{32}$/)
  t.notOk(await other.getByText('Copy').isVisible(), 'no button that does nothing')
  await other.click('text=Back to your account')

  await press(other, 'End my other sessions')
  await other.getByText('Your other sessions have ended.').waitFor()
  await visit(page, OWNER_PAGE)
  await shows(page, 'Your session has ended')
  await press(other, 'Sign out')
  await shows(other, 'You are signed out')
  await visit(other, OWNER_PAGE)
  t.match(await headingOf(other), /^Sign in/)
})

t.test('with script, a secret can be copied, and times are those of the person', async (t) => {
  const page = await openSignedIn(t, 'erin', {
    ...{ locale: 'en-GB', timezoneId: 'Asia/Kolkata' },
    permissions: ['clipboard-read', 'clipboard-write'],
  })
  await visit(page, OWNER_PAGE)
  const time = page.locator('#sessions time').first()
  const at = new Date((await time.getAttribute('datetime')) ?? '')
  const clockInIndia = new Date(at.getTime() + 330 * 60_000).toISOString().slice(11, 16)
  t.match(await time.textContent(), clockInIndia)
  t.equal(
    await time.getAttribute('title'),
    `${at.toISOString().slice(0, 16).replace('T', ' ')} UTC`,
  )

  await page.click('text=Make a token')
  await page.fill('#token-name', 'clip')
  await press(page, 'Make the token')
  await press(page, 'Copy')
  await page.getByText('Copied').waitFor()
  const copied = await page.evaluate<string>('navigator.clipboard.readText()')
  t.equal(copied, await page.textContent('#secret-0'))
  t.match(copied, /^hub_\w{32}$/)
})

t.test('no page asked for what its policy forbids, and no script failed', async (t) => {
  t.same(complaints, [])
})
