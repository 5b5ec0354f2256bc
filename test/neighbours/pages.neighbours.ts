/** Are the pages of `npm start` usable on a phone, with a keyboard and with a screen reader, in a real browser? */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { BrowserContextOptions, Page } from 'playwright-core'
import t, { type Test } from 'tap'
import { temporaryFolder } from '../helpers/process.ts'
import { startBuiltIn } from './built-in.ts'
import * as chromium from './chromium.ts'
import { until } from './neighbour.ts'

const AXE = readFileSync(new URL(import.meta.resolve('axe-core/axe.min.js')), 'utf8')

await chromium.install()
const browser = await chromium.startChromium()
t.teardown(() => browser.stop())

const folder = temporaryFolder(t)
writeFileSync(join(folder, 'a-long-name'), '')
const { link, httpCredentials } = await startBuiltIn(t, {}, folder)
const urlOf = (path: string) => new URL(path, link).href

const SMALL_PHONE = { viewport: { width: 320, height: 568 }, hasTouch: true, isMobile: true }

// The link works once; each test begins with the session that it gave.
const signedIn = await browser.open()
await signedIn.goto(link)
const storageState = await signedIn.context().storageState()
await signedIn.context().close()

/** Opens a path in a profile of its own that is signed in. */
async function open(t: Test, path: string, options: BrowserContextOptions): Promise<Page> {
  const page = await browser.open({ httpCredentials, storageState, ...options })
  t.teardown(() => page.context().close())
  await page.goto(urlOf(path))
  return page
}

/** A terminal with its prompt. */
async function openTerminal(t: Test, options: BrowserContextOptions): Promise<Page> {
  const page = await open(t, '/terminal', options)
  await prompts(page)
  await page.locator('.xterm-helper-textarea').focus()
  return page
}

/** Everything on the screen and above it. */
const textOf = (page: Page) =>
  page.evaluate<string>(`{
    const { active } = window.term.buffer
    Array.from({ length: active.length }, (_, i) => active.getLine(i).translateToString(true)).join('\\n').trimEnd()
  }`)

/** Waits until the terminal shows a text. */
const shows = (page: Page, pattern: RegExp) =>
  until(String(pattern), async () => pattern.test(await textOf(page).catch(() => '')))

const prompts = (page: Page) => shows(page, /[$#]$/)

/** Begins a command that only a signal ends, on an empty screen. */
async function sleep(page: Page): Promise<void> {
  await page.keyboard.type('clear; echo BUSY; sleep 1000; echo SLEPT\n')
  await shows(page, /^BUSY$/)
}

/** Waits until that command was interrupted. */
const isInterrupted = (page: Page) => shows(page, /^BUSY\n\^C\n(?!SLEPT).*[$#]$/)

const key = (page: Page, name: string) => page.getByRole('button', { name, exact: true })

const pressed = (page: Page) => key(page, 'Ctrl').getAttribute('aria-pressed')

const widthOf = (page: Page) => page.evaluate<number>('document.documentElement.scrollWidth')

t.test('a phone has a row of the keys that its keyboard lacks', async (t) => {
  const page = await openTerminal(t, SMALL_PHONE)
  t.equal(await widthOf(page), 320, 'nothing is wider than the screen')
  const row = page.getByRole('group', { name: 'Keys' })
  const boxes = await row.getByRole('button').evaluateAll((buttons) =>
    buttons.map((button) => {
      const { width, height, top } = button.getBoundingClientRect()
      return { width, height, top }
    }),
  )
  t.equal(boxes.length, 12)
  for (const { width, height } of boxes) t.ok(width >= 44 && height >= 44, `${width} × ${height}`)
  t.equal(new Set(boxes.map(({ top }) => top)).size, 1, 'in one line')

  await page.keyboard.type('echo ONE-$((1+1))\n')
  await shows(page, /^ONE-2$/m)
  await key(page, 'Up').tap()
  await shows(page, /[$#] echo ONE-\$\(\(1\+1\)\)$/)
  await key(page, 'Control C').tap()
  await shows(page, /\^C\n.*[$#]$/)
  await page.keyboard.type('cat a-l')
  await key(page, 'Tab').tap()
  await shows(page, /cat a-long-name$/)
  await key(page, 'Control C').tap()
  for (const name of ['Pipe', 'Slash', 'Minus', 'Tilde']) await key(page, name).tap()
  await shows(page, /[$#] \|\/-~$/)
  t.equal(
    await page.evaluate('document.activeElement.className'),
    'xterm-helper-textarea',
    'no key takes the focus, so that the keyboard stays open',
  )
})

t.test('Ctrl makes a control character of the next key, however a keyboard sends it', async (t) => {
  const page = await openTerminal(t, SMALL_PHONE)
  const devtools = await page.context().newCDPSession(page)
  const ways = {
    'a key': () => page.keyboard.press('c'),
    'an input event': () => page.keyboard.insertText('c'),
    'a word that is being composed': () =>
      devtools.send('Input.imeSetComposition', { text: 'c', selectionStart: 1, selectionEnd: 1 }),
  }
  for (const [name, send] of Object.entries(ways)) {
    await sleep(page)
    t.equal(await pressed(page), 'false')
    await key(page, 'Ctrl').tap()
    t.equal(await pressed(page), 'true', 'a screen reader says so')
    await send()
    await isInterrupted(page)
    t.equal(await pressed(page), 'false', name)
  }
  await devtools.send('Input.insertText', { text: 'cls' })
  await shows(page, /[$#] ls$/)
  t.pass('the rest of the word is typed when it is complete')
  await key(page, 'Ctrl').tap()
  await key(page, 'Ctrl').tap()
  await page.keyboard.press('c')
  await shows(page, /[$#] lsc$/)
  t.pass('a second tap takes it back')
})

t.test('arrows repeat while they are held, and are what the program asked for', async (t) => {
  const page = await openTerminal(t, SMALL_PHONE)
  await page.keyboard.type('0123456789')
  await shows(page, /0123456789$/)
  const column = () => page.evaluate<number>('window.term.buffer.active.cursorX')
  const before = await column()
  const devtools = await page.context().newCDPSession(page)
  await key(page, 'Left').scrollIntoViewIfNeeded()
  const box = await key(page, 'Left').boundingBox()
  const touchPoints = [{ x: (box?.x ?? 0) + 20, y: (box?.y ?? 0) + 20 }]
  await devtools.send('Input.dispatchTouchEvent', { type: 'touchStart', touchPoints })
  await until('three steps', async () => (await column()) <= before - 3)
  await devtools.send('Input.dispatchTouchEvent', { type: 'touchEnd', touchPoints: [] })
  await key(page, 'Control C').tap()
  await page.keyboard.type(`clear; printf '\\e[?1h'; cat -v\n`)
  await until('the mode', () =>
    page.evaluate<boolean>('window.term.modes.applicationCursorKeysMode'),
  )
  await key(page, 'Right').tap()
  await key(page, 'Ctrl').tap()
  await key(page, 'Right').tap()
  await key(page, 'Esc').tap()
  await page.keyboard.press('Enter')
  await shows(page, /^\^\[OC\^\[\[1;5C\^\[$/m)
  t.equal(await pressed(page), 'false')
})

t.test('a finger scrolls back', async (t) => {
  const page = await openTerminal(t, SMALL_PHONE)
  await page.keyboard.type('seq 500\n')
  await shows(page, /\n500\n.*[$#]$/)
  const devtools = await page.context().newCDPSession(page)
  const touch = async (type: 'touchStart' | 'touchMove' | 'touchEnd', y?: number) =>
    devtools.send('Input.dispatchTouchEvent', {
      type,
      touchPoints: y === undefined ? [] : [{ x: 160, y }],
    })
  const lines = () =>
    page.evaluate<number>('term.buffer.active.baseY - term.buffer.active.viewportY')
  await touch('touchStart', 150)
  for (let y = 170; y <= 350; y += 20) await touch('touchMove', y)
  await touch('touchEnd')
  await until('ten lines', async () => (await lines()) >= 10)
  t.ok((await lines()) <= 14, 'as far as the finger went')

  await page.keyboard.type(`printf '\\e[?1049h'; cat -v\n`) // a program that fills the screen
  await until('it', () => page.evaluate<boolean>(`term.buffer.active.type === 'alternate'`))
  await touch('touchStart', 150)
  for (let y = 170; y <= 350; y += 20) await touch('touchMove', y)
  await touch('touchEnd')
  await until('arrows, as from a wheel', async () => {
    const arrows = (await textOf(page)).replaceAll('\n', '').split('^[[A').length - 1
    return arrows >= 10 && arrows <= 14
  })
})

// Chromium without a window has no on-screen keyboard, so the test plays what it does to the page.
const KEYBOARD = `
  const seen = Object.assign(new EventTarget(), { height: 568, offsetTop: 0, scale: 1 })
  Object.defineProperty(window, 'visualViewport', { value: seen })
  window.coverTo = (height, offsetTop) => {
    Object.assign(seen, { height, offsetTop })
    seen.dispatchEvent(new Event('resize'))
  }`

t.test('when the keyboard opens, the terminal is fitted to what is left', async (t) => {
  const page = await browser.open({ httpCredentials, storageState, ...SMALL_PHONE })
  t.teardown(() => page.context().close())
  await page.addInitScript(KEYBOARD)
  await page.goto(urlOf('/terminal'))
  await prompts(page)
  const rows = () => page.evaluate<number>('window.term.rows')
  const before = await rows()
  await page.evaluate('coverTo(300, 20)')
  await until('fewer rows', async () => (await rows()) < before)
  const box = await page.getByRole('group', { name: 'Keys' }).boundingBox()
  t.equal((box?.y ?? 0) + (box?.height ?? 0), 320, 'the keys are just above the keyboard')
  t.equal(await page.getByRole('link', { name: 'Dashboard' }).isVisible(), false)
  await page.locator('.xterm-helper-textarea').focus()
  await page.keyboard.type('stty size\n')
  await shows(page, new RegExp(`^${await rows()} \\d+$`, 'm'))
  await page.evaluate('coverTo(568, 0)')
  await until('all rows', async () => (await rows()) === before)
  t.ok(await page.getByRole('link', { name: 'Dashboard' }).isVisible())
})

t.test('with a keyboard, the ways out of the terminal can be reached', async (t) => {
  const page = await openTerminal(t, {})
  t.equal(await page.getByRole('group', { name: 'Keys' }).count(), 0, 'no row of keys')
  const focused = () => page.evaluate<string>('document.activeElement.textContent.trim()')
  await page.keyboard.press('Tab')
  t.equal(await focused(), '', 'Tab is for the shell')
  await page.keyboard.press('Shift+Escape')
  t.equal(await focused(), 'Dashboard')
  await page.keyboard.press('Tab')
  t.equal(await focused(), 'Account')
  await page.keyboard.press('Tab')
  t.equal(await focused(), 'Sign out')
  await page.keyboard.press('Tab')
  await page.keyboard.type('echo HERE-$((1+1))\n')
  await shows(page, /^HERE-2$/m)
  await page.keyboard.press('Shift+Escape')
  await page.keyboard.press('Enter')
  await page.waitForURL(urlOf('/'))
})

t.test('axe finds nothing, and nothing is wider than a small phone', async (t) => {
  const page = await open(t, '/', SMALL_PHONE)
  for (const path of ['/', '/about', '/nope', '/terminal']) {
    await page.goto(urlOf(path))
    if (path === '/') await page.getByText('Live from').waitFor()
    if (path === '/terminal') await prompts(page)
    t.equal(await widthOf(page), 320)
    await page.evaluate(AXE)
    for (const colorScheme of ['light', 'dark'] as const) {
      await page.emulateMedia({ colorScheme })
      const found = await page.evaluate<string[]>(`axe.run().then(({ violations }) =>
        violations.flatMap(({ id, nodes }) => nodes.map(({ html }) => id + ': ' + html)))`)
      t.same(found, [], `${path}, ${colorScheme}`)
    }
  }
})

t.test('signing out from the terminal ends the session', async (t) => {
  const page = await openTerminal(t, SMALL_PHONE)
  await key(page, 'Sign out').tap()
  await page.waitForURL(/\/_gateway\/signed-out/)
  const answer = await page.goto(urlOf('/terminal'))
  t.equal(answer?.headers()['x-gateway-error'], 'sign-in-required')
})
