/** Does the terminal of `npm start` keep its shell in a real browser? The built-in one, as on a machine without ttyd. */
import t from 'tap'
import type { Page } from 'playwright-core'
import { elapse } from '../helpers/waiting.ts'
import { startBuiltIn } from './built-in.ts'
import * as chromium from './chromium.ts'
import { until } from './neighbour.ts'

await chromium.install()
const browser = await chromium.startChromium()
t.teardown(() => browser.stop())

const { link, httpCredentials } = await startBuiltIn(t, { SHELL: '/bin/sh' })

/** Everything on the screen and above it. */
const textOf = (page: Page) =>
  page.evaluate<string>(`{
    const { buffer } = window.term
    let text = ''
    for (let i = 0; i < buffer.active.length; i++)
      text += (buffer.active.getLine(i)?.translateToString(true) ?? '') + '\\n'
    text.trimEnd()
  }`)

/** Runs a command in the shell. @returns what its output has in the place of the group */
async function ask(page: Page, command: string, answer: RegExp): Promise<string> {
  await page.locator('.xterm-helper-textarea').focus()
  await page.keyboard.type(`${command}\n`)
  return await until(`the answer to ${command}`, async () => answer.exec(await textOf(page))?.[1])
}

const pidOf = (page: Page, name: string) =>
  ask(page, `echo ${name}=$$.`, new RegExp(`${name}=(\\d+)\\.`))

const isReady = (page: Page) =>
  until('a shell', async () => /[$#]$/.test(await textOf(page).catch(() => '')))

const notice = (page: Page) => page.locator('#notice')

// The page's WebSockets, so that a test can cut them.
const COUNTING = `
  window.lines = []
  window.WebSocket = class extends WebSocket {
    constructor(...args) {
      super(...args)
      window.lines.push(this)
    }
  }`

const first = await browser.open({ httpCredentials })
await first.addInitScript(COUNTING)
await first.goto(link)
await first.goto(new URL('/terminal', link).href)
await isReady(first)
const tab = first.url()
const pid = await pidOf(first, 'first')

t.test('a reload has the same shell and its screen', async (t) => {
  t.match(tab, /\/terminal\/\?tab=[\w-]{16,64}$/)
  await first.reload()
  await isReady(first)
  t.match(await textOf(first), `first=${pid}.`)
  t.equal(await pidOf(first, 'reloaded'), pid)
  t.equal(first.url(), tab)
})

t.test('a connection that was cut comes back by itself', async (t) => {
  await first.evaluate(`window.lines.at(-1).close(4000)`)
  await until('another connection', () => first.evaluate<boolean>(`window.lines.length === 2`))
  await notice(first).waitFor({ state: 'hidden' })
  t.equal(await pidOf(first, 'cut'), pid)
  t.match(await textOf(first), `reloaded=${pid}.`, 'with its screen')
})

t.test('a second tab takes the shell over, and the first one leaves it alone', async (t) => {
  const second = await first.context().newPage()
  await second.goto(tab)
  await isReady(second)
  t.equal(await pidOf(second, 'second'), pid)
  await first.bringToFront()
  await notice(first).getByText('This terminal is open in another tab.').waitFor()
  await elapse(1000, 'the page would connect again after 100 ms')
  t.equal(await first.evaluate(`window.lines.length`), 2)
  await notice(first).getByRole('button').click()
  await notice(first).waitFor({ state: 'hidden' })
  t.equal(await pidOf(first, 'back'), pid, 'one click has it back')
  await second.close()
})

t.test('a shell that exits is not replaced by itself', async (t) => {
  await first.locator('.xterm-helper-textarea').focus()
  await first.keyboard.type('exit\n')
  await notice(first).getByText('The shell has ended.').waitFor()
  await elapse(1000, 'the page would connect again after 100 ms')
  t.equal(await first.evaluate(`window.lines.length`), 3)
  await first.keyboard.press('Enter')
  await notice(first).waitFor({ state: 'hidden' })
  t.not(await pidOf(first, 'new'), pid)
})
