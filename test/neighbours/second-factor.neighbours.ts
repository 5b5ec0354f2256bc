/** Does a second factor work as people use it, in a real browser with real WebAuthn? And only for them, on their own workspace? */
import { Secret, TOTP } from 'otpauth'
import type { BrowserContextOptions, CDPSession, Page } from 'playwright-core'
import t, { type Test } from 'tap'
import { startUpstream } from '../helpers/upstream.ts'
import * as chromium from './chromium.ts'
import { startWorkspace } from './workspace.ts'

await chromium.install()
const browser = await chromium.startChromium()
t.teardown(() => browser.stop())

/** A workspace with a shell that says so, at its own name, as browsers reach it. */
async function startNamed(name: string) {
  const service = await startUpstream(t, (_request, response) => {
    response.setHeader('Content-Type', 'text/html')
    response.end('<!doctype html><link rel="icon" href="data:,"><h1>the shell</h1>')
  })
  const workspace = await startWorkspace({
    ...{ name, terminal: service.url, dashboard: service.url },
    settings: { GATEWAY_SECOND_FACTOR: 'local', GATEWAY_RATE_LIMIT: '100000' },
  })
  t.teardown(() => workspace.stop())
  return {
    ...workspace,
    origin: `http://${workspace.host}:${workspace.port}`,
    /** How many requests the terminal has got. */
    asked: () => service.requests.filter(({ url }) => url.startsWith('/terminal')).length,
  }
}

const [houston, research] = await Promise.all([startNamed('houston'), startNamed('research')])
type Named = typeof houston

/** A browser of one person, with an authenticator of its own. */
interface Person {
  readonly page: Page
  readonly devtools: CDPSession
  readonly authenticatorId: string
}

/** Opens a browser that is signed in. */
async function open(
  t: Test,
  subject: string,
  { at = houston, ...options }: BrowserContextOptions & { at?: Named } = {},
): Promise<Page> {
  const page = await browser.open(options)
  t.teardown(() => page.context().close())
  await signIn(page, subject, at)
  return page
}

async function signIn(page: Page, subject: string, at = houston): Promise<void> {
  await page.goto(`${at.origin}/_gateway/sign-in`)
  await page.fill('input[name=token]', await at.token(subject))
  await page.click('button')
  await page.waitForURL(`${at.origin}/`)
}

/** The same, with an authenticator. @param isSynced whether its passkeys are copied between devices */
async function openWithPasskeys(t: Test, subject: string, isSynced = false): Promise<Person> {
  const page = await open(t, subject)
  const devtools = await page.context().newCDPSession(page)
  await devtools.send('WebAuthn.enable')
  const { authenticatorId } = await devtools.send('WebAuthn.addVirtualAuthenticator', {
    options: {
      ...{ protocol: 'ctap2', transport: 'internal', hasResidentKey: true },
      ...{ hasUserVerification: true, isUserVerified: true },
      ...{ defaultBackupEligibility: isSynced, defaultBackupState: isSynced },
    },
  })
  return { page, devtools, authenticatorId }
}

const TERMINAL = `${houston.origin}/terminal/`

const heading = (page: Page) => page.textContent('h1')

/** The sentence that says what went wrong. */
const problem = (page: Page) => page.getByRole('alert').filter({ visible: true }).textContent()

const press = (page: Page, name: string) => page.getByRole('button', { name }).click()

/** Goes to the terminal, which leads to the page that wants a factor. */
async function goToTerminal(page: Page): Promise<void> {
  await page.goto(TERMINAL)
  if (!page.url().includes('/_gateway/verify-2fa?next=%2Fterminal%2F')) throw new Error(page.url())
}

/** Makes a first passkey, and goes on to the terminal. */
async function enrol(page: Page): Promise<void> {
  await goToTerminal(page)
  await press(page, 'Set up a passkey')
  await page.fill('#name', 'laptop')
  await page.press('#name', 'Enter') // as the button does
  await page.getByText('Keep your backup codes').waitFor()
  await page.getByText('I have kept them').click()
  await page.waitForURL(TERMINAL)
}

/** Signs in anew, and goes to the page that wants a factor. */
async function comeAgain(page: Page, subject: string): Promise<void> {
  await page.context().clearCookies()
  await signIn(page, subject)
  await goToTerminal(page)
}

const showPasskey = (page: Page) => press(page, 'Confirm with a passkey')

/** Shows a passkey that is refused. @returns the sentence on the page that comes back, with its way on */
async function refusedPasskey(t: Test, page: Page): Promise<string | null> {
  const asked = houston.asked()
  const answering = page.waitForResponse((answer) => answer.request().method() === 'POST')
  await showPasskey(page)
  t.equal((await answering).status(), 401)
  await page.getByRole('alert').first().waitFor()
  const next = await page.inputValue('form[data-passkey] input[name=next]')
  t.equal(next, '/terminal/', 'nothing is lost')
  t.equal(houston.asked(), asked, 'the terminal is not asked')
  return problem(page)
}

/** Changes the options with which the page asks the authenticator, as a script of somebody else could. */
async function changeOptions(page: Page, change: object): Promise<void> {
  await page.evaluate(`{
    const form = document.querySelector('form[data-passkey]')
    form.dataset.options = JSON.stringify({ ...JSON.parse(form.dataset.options), ...${JSON.stringify(change)} })
  }`)
}

/** The passkeys in the authenticator. */
async function credentialsOf({ devtools, authenticatorId }: Person) {
  return (await devtools.send('WebAuthn.getCredentials', { authenticatorId })).credentials
}

/** Puts the only passkey back as it was when it was copied. */
async function restoreCopy(
  person: Person,
  copy: Awaited<ReturnType<typeof credentialsOf>>[number],
) {
  const { devtools, authenticatorId } = person
  await devtools.send('WebAuthn.clearCredentials', { authenticatorId })
  await devtools.send('WebAuthn.addCredential', { authenticatorId, credential: copy })
}

t.test('a passkey is made, opens the terminal, and removes another', async (t) => {
  const { page } = await openWithPasskeys(t, 'alice')
  await enrol(page)
  t.equal(await heading(page), 'the shell')
  await comeAgain(page, 'alice')
  await showPasskey(page)
  await page.waitForURL(TERMINAL)
  t.equal(await heading(page), 'the shell')

  await page.goto(`${houston.origin}/_gateway/`)
  await press(page, 'Add an authenticator app')
  await showPasskey(page)
  const secret = ((await page.locator('code.secret').textContent()) ?? '').replaceAll(' ', '')
  await page.fill('#code', new TOTP({ secret: Secret.fromBase32(secret) }).generate())
  await press(page, 'Confirm')
  await page.waitForURL(`${houston.origin}/_gateway/`)
  await page.getByLabel('Remove: Authenticator app').click()
  await showPasskey(page)
  await page.waitForURL('**done=**')
  t.equal(await page.getByLabel('Remove: Authenticator app').count(), 0)
  t.equal(await page.getByLabel('Remove: laptop').count(), 1)
})

t.test('a copy of a passkey is refused when it is bound to a device', async (t) => {
  const person = await openWithPasskeys(t, 'bound')
  const { page } = person
  await enrol(page)
  const [copy] = await credentialsOf(person)
  if (copy === undefined) throw new Error('no passkey')
  for (let i = 0; i < 2; i++) {
    await comeAgain(page, 'bound')
    await showPasskey(page)
    await page.waitForURL(TERMINAL)
  }
  await restoreCopy(person, copy)
  await comeAgain(page, 'bound')
  t.equal(
    await refusedPasskey(t, page),
    'This passkey seems to have been copied, so it is not taken. Use another factor, and remove this one.',
  )
})

t.test('and only noted when it is synced between devices', async (t) => {
  const person = await openWithPasskeys(t, 'synced', true)
  const { page } = person
  await enrol(page)
  const [copy] = await credentialsOf(person)
  if (copy === undefined) throw new Error('no passkey')
  t.match(copy, { backupEligibility: true, backupState: true })
  for (const old of [undefined, copy]) {
    if (old !== undefined) await restoreCopy(person, { ...old, signCount: 0 })
    await comeAgain(page, 'synced')
    await showPasskey(page)
    await page.waitForURL(TERMINAL)
  }
  t.equal(await heading(page), 'the shell')
})

t.test('without a finger or a PIN there is no passkey', async (t) => {
  const { page, devtools, authenticatorId } = await openWithPasskeys(t, 'unverified')
  await enrol(page)
  await comeAgain(page, 'unverified')
  await devtools.send('WebAuthn.setUserVerified', { authenticatorId, isUserVerified: false })
  await showPasskey(page)
  await page.getByRole('alert').first().waitFor()
  t.equal(await problem(page), 'Nothing was chosen, or it took too long. Try again.')
  await changeOptions(page, { userVerification: 'discouraged' })
  t.equal(
    await refusedPasskey(t, page),
    'The passkey did not answer as it should. Try again, or use another factor.',
    'nor when a script does not ask for it',
  )
  await devtools.send('WebAuthn.setUserVerified', { authenticatorId, isUserVerified: true })
  await showPasskey(page)
  await page.waitForURL(TERMINAL)
})

t.test('a prompt that is cancelled loses nothing', async (t) => {
  const { page, devtools, authenticatorId } = await openWithPasskeys(t, 'cancels')
  const presence = (enabled: boolean) =>
    devtools.send('WebAuthn.setAutomaticPresenceSimulation', { authenticatorId, enabled })
  await enrol(page)
  await comeAgain(page, 'cancels')
  const url = page.url()
  await presence(false)
  await changeOptions(page, { timeout: 300 })
  await showPasskey(page)
  await page.getByRole('alert').first().waitFor()
  t.equal(await problem(page), 'Nothing was chosen, or it took too long. Try again.')
  t.equal(page.url(), url)
  await presence(true)
  await showPasskey(page)
  await page.waitForURL(TERMINAL)
})

t.test('a challenge counts once, for one person', async (t) => {
  const alice = await openWithPasskeys(t, 'carol')
  const { page } = alice
  await enrol(page)
  const [hers] = await credentialsOf(alice)
  await comeAgain(page, 'carol')
  const sending = page.waitForRequest((request) => request.method() === 'POST')
  await showPasskey(page)
  const body = (await sending).postData() ?? ''
  await page.waitForURL(TERMINAL)
  const replay = () =>
    page.evaluate<[number, string]>(
      `fetch('/_gateway/verify-2fa', {
        method: 'POST',
        headers: { 'Content-Type': 'application/x-www-form-urlencoded' },
        body: ${JSON.stringify(body)},
      }).then(async (answer) => [answer.status, await answer.text()])`,
    )
  const gone = 'That took too long, or was sent twice. Try once more.'
  const twice = await replay()
  t.equal(twice[0], 401)
  t.match(twice[1], gone)

  await page.context().clearCookies()
  await signIn(page, 'bob')
  await enrol(page)
  const stolen = await replay()
  t.equal(stolen[0], 401)
  t.match(stolen[1], gone, 'what she has shown in her session is nothing in his')
  await comeAgain(page, 'bob')
  const id = Buffer.from(hers?.credentialId ?? '', 'base64').toString('base64url')
  await changeOptions(page, { allowCredentials: [{ type: 'public-key', id }] })
  t.equal(
    await refusedPasskey(t, page),
    'This passkey is not registered here. Use another one.',
    'her passkey is nobody’s in his session',
  )
})

t.test('a sibling’s page can neither use a passkey nor make one that is taken here', async (t) => {
  const person = await openWithPasskeys(t, 'dave')
  const { page } = person
  await enrol(page)
  const [his] = await credentialsOf(person)
  await comeAgain(page, 'dave')
  const options = await page.getAttribute('form[data-passkey]', 'data-options')
  const sibling = await page.context().newPage()
  const devtools = await sibling.context().newCDPSession(sibling)
  await devtools.send('WebAuthn.enable')
  const { authenticatorId } = await devtools.send('WebAuthn.addVirtualAuthenticator', {
    options: {
      ...{ protocol: 'ctap2', transport: 'internal', hasResidentKey: true },
      ...{ hasUserVerification: true, isUserVerified: true },
    },
  })
  if (his !== undefined)
    await devtools.send('WebAuthn.addCredential', { authenticatorId, credential: his })
  await signIn(sibling, 'mallory', research)
  /** Shows a passkey on a page of the sibling, with the challenge of this workspace. @returns the answer, or the name of the error */
  const show = (change: object) =>
    sibling.evaluate<string>(`(async () => {
      const options = { ...${options ?? ''}, ...${JSON.stringify(change)} }
      const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(options)
      return JSON.stringify(await navigator.credentials.get({ publicKey }))
    })().catch(({ name }) => name)`)
  t.equal(await show({}), 'SecurityError', 'another host than its own')
  t.equal(
    await show({ rpId: 'hubify.localhost', timeout: 300 }),
    'NotAllowedError',
    'the domain of both',
  )
  t.equal(await show({ rpId: research.host, timeout: 300 }), 'NotAllowedError', 'its own host')

  // A passkey of its own that claims his id signs for its own host.
  await devtools.send('WebAuthn.clearCredentials', { authenticatorId })
  if (his !== undefined)
    await devtools.send('WebAuthn.addCredential', {
      authenticatorId,
      credential: { ...his, rpId: research.host },
    })
  const assertion = await show({ rpId: research.host })
  t.match(assertion, 'clientDataJSON', 'the browser signs for the sibling')
  await page.evaluate(`{
    const form = document.querySelector('form[data-passkey]')
    form.elements.passkey.value = ${JSON.stringify(assertion)}
    form.submit()
  }`)
  await page.getByRole('alert').first().waitFor()
  t.equal(
    await problem(page),
    'The passkey did not answer as it should. Try again, or use another factor.',
  )
  const asked = houston.asked()
  await goToTerminal(page)
  t.equal(houston.asked(), asked)
})

t.test('an authenticator app works without script', async (t) => {
  const page = await open(t, 'erin', { javaScriptEnabled: false })
  await goToTerminal(page)
  await press(page, 'Set up an authenticator app')
  await page.getByText('Type it instead').click()
  const text = (await page.locator('code.secret').textContent()) ?? ''
  const app = new TOTP({ secret: Secret.fromBase32(text.replaceAll(' ', '')) })
  const codeAt = (steps: number) => app.generate({ timestamp: Date.now() + steps * 30_000 })
  /** Types a code. @returns the heading of the page that comes then */
  const type = async (code: string) => {
    await page.fill('#code', code)
    const answering = page.waitForResponse((answer) => answer.request().method() === 'POST')
    await press(page, 'Confirm')
    await answering
    await page.waitForLoadState()
    return heading(page)
  }
  const wrong = [-1, 0, 1, 2].some((step) => codeAt(step) === '000000') ? '000001' : '000000'
  t.equal(await type(wrong), 'Set up an authenticator app')
  t.equal(await problem(page), 'The code is wrong. Type the one that the app shows now.')
  t.equal(await page.locator('code.secret').textContent(), text, 'the same secret')
  t.equal(await type(codeAt(-1)), 'Keep your backup codes')
  const codes = await page.locator('.codes code').allTextContents()
  t.equal(codes.length, 10)
  await page.getByText('I have kept them').click()
  t.equal(await heading(page), 'the shell')

  await comeAgain(page, 'erin')
  const asked = houston.asked()
  t.equal(await type(wrong), 'Confirm that it is you')
  t.equal(await problem(page), 'The code is wrong. Type the one that the app shows now.')
  t.equal(houston.asked(), asked)
  const code = codeAt(0)
  t.equal(await type(code), 'the shell')
  await comeAgain(page, 'erin')
  t.equal(await type(code), 'Confirm that it is you')
  t.equal(await problem(page), 'That code was used before. Wait for the next one.')
  t.equal(await type(codes[0] ?? ''), 'the shell')
})

t.test('with script, a double click sends a form once', async (t) => {
  const page = await open(t, 'grace')
  await goToTerminal(page)
  await press(page, 'Set up an authenticator app')
  const text = (await page.locator('code.secret').textContent()) ?? ''
  const app = new TOTP({ secret: Secret.fromBase32(text.replaceAll(' ', '')) })
  await page.fill('#code', app.generate({ timestamp: Date.now() - 30_000 }))
  const posts: string[] = []
  page.on('request', (request) => {
    if (request.method() === 'POST') posts.push(request.url())
  })
  await page.getByRole('button', { name: 'Confirm' }).dblclick()
  await page.getByText('I have kept them').click()
  await page.waitForURL(TERMINAL)
  t.equal(posts.length, 1)
})

t.test('who presses twice reads why, and is in with the next code', async (t) => {
  const page = await open(t, 'frank', { javaScriptEnabled: false })
  await goToTerminal(page)
  await press(page, 'Set up an authenticator app')
  const text = (await page.locator('code.secret').textContent()) ?? ''
  const app = new TOTP({ secret: Secret.fromBase32(text.replaceAll(' ', '')) })
  await page.fill('#code', app.generate({ timestamp: Date.now() - 30_000 }))
  await press(page, 'Confirm')
  await page.getByText('I have kept them').click()
  await comeAgain(page, 'frank')
  await page.fill('#code', app.generate())
  await page.getByRole('button', { name: 'Confirm' }).dblclick()
  await page.getByRole('alert').or(page.getByText('the shell')).waitFor()
  // The browser follows one of the two answers.
  if (page.url() !== TERMINAL) {
    t.equal(await problem(page), 'That code was used before. Wait for the next one.')
    await page.fill('#code', app.generate({ timestamp: Date.now() + 30_000 }))
    await press(page, 'Confirm')
  }
  await page.waitForURL(TERMINAL)
  t.equal(await heading(page), 'the shell')
})
