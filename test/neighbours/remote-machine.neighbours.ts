/** Does a phone reach a real gateway over two hops, a real relay and a real link, and is it cut off in a second when it is revoked? */
import { join } from 'node:path'
import type { Page } from 'playwright-core'
import t, { type Test } from 'tap'
import { buildRemotePage } from '../../build/remote-page.ts'
import { PASSWORD, startPlayedWorkspace } from '../helpers/behind-the-link.ts'
import { setUpApp } from '../helpers/factors.ts'
import { startWorkspace } from '../helpers/gateway.ts'
import { temporaryFolder } from '../helpers/process.ts'
import { relayFor } from '../helpers/relay.ts'
import * as chromium from './chromium.ts'
import { run, startProgram, until } from './neighbour.ts'

const PHONE = { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true }
const MAIN = new URL('../../src/main.ts', import.meta.url).pathname

await chromium.install()
await buildRemotePage()
const browser = await chromium.startChromium()
t.teardown(() => browser.stop())

/** A whole machine: a relay, a gateway with a terminal behind it, and the link between the two. */
async function start(t: Test, settings: Record<string, string> = {}) {
  const folder = temporaryFolder(t)
  const relay = await relayFor(t)
  const terminal = await startPlayedWorkspace(t, true)
  terminal.wants.password = true
  const linkSocket = join(folder, 'link.sock')
  const gateway = await startWorkspace(t, {
    GATEWAY_TERMINAL_URL: `http://127.0.0.1:${terminal.port}`,
    GATEWAY_LINK_SOCKET: linkSocket,
    ...settings,
  })
  const env = {
    PATH: process.env['PATH'],
    GATEWAY_WORKSPACE: 'houston',
    GATEWAY_LINK_SOCKET: linkSocket,
    LINK_RELAY_URL: relay.url,
    LINK_STATE_DIR: join(folder, 'state'),
    LINK_OWNER_SOCKET: join(folder, 'owner.sock'),
    LINK_PAGE_URL: `${gateway.origin}/_gateway/remote/`,
  }
  const startLink = async () => {
    const link = startProgram(process.execPath, [MAIN, 'link'], { env })
    t.teardown(() => link.stop())
    await link.written(/linking devices/)
    return link
  }
  const link = await startLink()
  const command = (...args: string[]) => run(process.execPath, [MAIN, ...args], { env })
  const pair = async (...args: string[]) =>
    (JSON.parse(await command('pair', '--json', '--sub', 'alice', ...args)) as { link: string })
      .link
  return { gateway, link, startLink, command, pair }
}

async function open(t: Test, url: string): Promise<Page> {
  const page = await browser.open(PHONE)
  t.teardown(() => page.context().close())
  await page.goto(url)
  return page
}

const button = (page: Page, name: string) => page.getByRole('button', { name, exact: true })
const connection = (page: Page, text: string) =>
  page.locator('#connection').getByText(text, { exact: true }).waitFor()
const shows = (page: Page, pattern: RegExp) =>
  until(String(pattern), async () =>
    pattern.test(
      await page
        .locator('.xterm-rows')
        .innerText()
        .catch(() => ''),
    ),
  )

t.test('a phone runs echo hello in a terminal, and is gone when it is revoked', async (t) => {
  const { gateway, command, pair } = await start(t)
  const page = await open(t, await pair())
  await page.getByLabel('Name of this device').fill('Phone')
  await button(page, 'Pair').click()
  await connection(page, 'Waiting')
  const shown = await page.textContent('.comparison')
  const devices = JSON.parse(await command('devices', 'list', '--json')) as { id: string }[]
  t.match(devices, [{ name: 'Phone', code: shown, state: 'waiting' }])
  const id = devices[0]?.id ?? ''
  await command('devices', 'approve', id, '--sub', 'alice')
  await connection(page, 'Connected')
  await page.locator('#services').getByText('dashboard').waitFor()

  await button(page, 'Open the terminal').click()
  await page.getByLabel('User').fill(PASSWORD.user)
  await page.getByLabel('Password').fill(PASSWORD.password)
  await button(page, 'Open the terminal').click()
  await shows(page, /\$/)
  await page.keyboard.type('echo "hello $((40+2))"\n')
  await shows(page, /hello 42/)
  const line = await gateway.logLine(
    ({ client, path }) => client === `device:${id}` && path === '/_gateway/ready',
  )
  t.match(line, { user: 'alice', status: 200 })

  await command('devices', 'revoke', id)
  await page.getByText('The owner has removed this device; pair it again to come back.').waitFor()
  t.equal(await page.locator('.terminal-view').count(), 0)
  await page.reload()
  await page.getByLabel('Pairing link').waitFor()
})

t.test('a phone comes back when the link was restarted, and its page stays as it is', async (t) => {
  const { link, startLink, pair } = await start(t)
  const page = await open(t, await pair('--approved'))
  await button(page, 'Pair').click()
  await connection(page, 'Connected')
  await page.getByLabel('Path').fill('/something/typed')
  await link.stop()
  await connection(page, 'Connecting')
  await startLink()
  await page.evaluate(`dispatchEvent(new Event('online'))`)
  await connection(page, 'Connected')
  t.equal(await page.getByLabel('Path').inputValue(), '/something/typed', 'the screen stays')
  await page.locator('#services').getByRole('button').click()
  await page.locator('#services').getByText('dashboard').waitFor()
})

t.test('the terminal over the relay wants a second factor as it does at the door', async (t) => {
  const { gateway, pair } = await start(t, { GATEWAY_SECOND_FACTOR: 'local' })
  const { factors } = gateway.running.parts
  const at = Date.now()
  const { backupCodes } = setUpApp(factors, 'alice', { sessionId: 'set-up', hasProof: false, at })
  const page = await open(t, await pair('--approved'))
  await button(page, 'Pair').click()
  await connection(page, 'Connected')
  await button(page, 'Open the terminal').click()
  const code = page.getByLabel('Code of your authenticator app')
  await code.fill('000000')
  await button(page, 'Open the terminal').click()
  await page.getByRole('alert').waitFor()
  await code.fill(backupCodes[0] ?? '')
  await button(page, 'Open the terminal').click()
  await page.getByLabel('User').fill(PASSWORD.user)
  await page.getByLabel('Password').fill(PASSWORD.password)
  await button(page, 'Open the terminal').click()
  await shows(page, /\$/)
})
