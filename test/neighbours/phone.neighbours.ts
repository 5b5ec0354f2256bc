/**
 * Is a phone all that somebody needs to reach their workspace? From the code that `pair` prints to the revocation, through the relay and
 * the link of `npm start`, with its terminal that keeps shells.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Page } from 'playwright-core'
import t, { type Test } from 'tap'
import { buildRemotePage } from '../../build/remote-page.ts'
import { relayPlace } from '../../embedded/relay-place.ts'
import { startWorkspace, type Workspace } from '../../embedded/workspace.ts'
import { scanned } from '../helpers/camera.ts'
import { temporaryFolder } from '../helpers/process.ts'
import * as chromium from './chromium.ts'
import { run, startProgram, until } from './neighbour.ts'

const PHONE = { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true }
const ROOT = new URL('../..', import.meta.url).pathname
const MAIN = join(ROOT, 'src/main.ts')

await chromium.install()
await buildRemotePage()
const browser = await chromium.startChromium()
t.teardown(() => browser.stop())

/** The machine of somebody who has run `npm start`, and their commands. */
async function start(t: Test) {
  const settings = { GATEWAY_STATE_DIR: join(temporaryFolder(t), '.workspace') }
  const troubles: string[] = []
  const workspace = await startWorkspace(settings, (trouble) => troubles.push(trouble))
  t.teardown(() => workspace.close())
  const { linkLog, relayLog } = relayPlace(settings)
  const command = (...args: string[]) =>
    run(process.execPath, ['--import', join(ROOT, 'embedded/own-link.ts'), MAIN, ...args], {
      env: { PATH: process.env['PATH'], ...settings },
    })
  await until('the link', () =>
    linesOf(linkLog).some(({ msg }) => msg === 'connected to the relay'),
  )
  const relay = () => linesOf(relayLog).findLast(({ msg }) => msg === 'relaying')
  return { workspace, command, relay, troubles }
}

/** The lines of a log; none before it is there. */
function linesOf(log: string): { msg: string; pid: number; port: number }[] {
  try {
    const lines = readFileSync(log, 'utf8').split('\n')
    return lines.filter((line) => line.endsWith('}')).map((line) => JSON.parse(line))
  } catch {
    return []
  }
}

const button = (page: Page, name: string) => page.getByRole('button', { name, exact: true })
const connection = (page: Page, text: string) =>
  page.locator('#connection').getByText(text, { exact: true }).waitFor()
const screenOf = (page: Page) => page.locator('.xterm-rows').innerText()
const shows = (page: Page, pattern: RegExp) =>
  until(String(pattern), async () => pattern.test(await screenOf(page).catch(() => '')))

/** Opens the terminal, with its password where it is asked for. */
async function openTerminal(page: Page, { terminal }: Workspace): Promise<void> {
  const [user = '', ...password] = terminal?.credential.split(':') ?? []
  await button(page, 'Open the terminal').click()
  await page.getByLabel('User').fill(user)
  await page.getByLabel('Password').fill(password.join(':'))
  await button(page, 'Open the terminal').click()
  await shows(page, /\S/)
}

/** A picture for the documentation, when somebody wants some. */
async function picture(page: Page, name: string): Promise<void> {
  const folder = process.env['SCREENSHOTS']
  if (folder === undefined) return
  for (const colorScheme of ['light', 'dark'] as const) {
    await page.emulateMedia({ colorScheme })
    await page.screenshot({ path: join(folder, `${name}-${colorScheme}.png`) })
  }
  await page.emulateMedia({ colorScheme: 'light' })
}

t.test('a phone scans the code, is let in, works in a shell, and is thrown out', async (t) => {
  const { workspace, command, relay, troubles } = await start(t)
  const link = scanned(await command('pair', '--sub', 'alice'))
  t.ok(link.startsWith(`${workspace.origin}/_gateway/remote/#`), 'a camera reads the link')
  const page = await browser.open(PHONE)
  t.teardown(() => page.context().close())
  await page.goto(link)
  await page.getByLabel('Name of this device').fill('My phone')
  await picture(page, 'name')
  await button(page, 'Pair').click()
  await connection(page, 'Waiting')
  const code = (await page.textContent('.comparison')) ?? ''
  await picture(page, 'code')
  const [line = ''] = (await command('devices', 'list')).split('\n').slice(1)
  t.ok(/^\S+ +waiting +My phone /.test(line) && line.includes(code), `the list has ${code}`)
  const [id = ''] = line.split(' ')
  await command('devices', 'approve', id)
  await connection(page, 'Connected')
  await page.locator('#services').getByText('dashboard').waitFor()
  await picture(page, 'home')

  await openTerminal(page, workspace)
  await page.keyboard.type('echo hello\n')
  await shows(page, /^hello\s*$/m)
  await picture(page, 'terminal')
  await page.keyboard.type('MARK=$$-kept; echo "shell $MARK"\n')
  await shows(page, /^shell \d+-kept/m)
  const [shell = ''] = /\d+-kept/.exec(await screenOf(page)) ?? []

  await page.reload()
  await connection(page, 'Connected')
  t.equal(await page.locator('.comparison').count(), 0, 'it need not be paired again')
  await openTerminal(page, workspace)
  await page.keyboard.type('echo "reloaded $MARK"\n')
  await until('the same shell', async () => (await screenOf(page)).includes(`reloaded ${shell}`))

  const { pid = 0, port } = relay() ?? {}
  process.kill(pid, 'SIGKILL')
  await until('the loss is told', () => troubles.some((trouble) => trouble.includes('relay')))
  await page.getByRole('status').getByText('The relay').waitFor()
  const again = startProgram(process.execPath, [MAIN, 'relay'], {
    env: { PATH: process.env['PATH'], RELAY_HOST: '127.0.0.1', RELAY_PORT: String(port) },
  })
  t.teardown(() => again.stop())
  await page.locator('.notice').waitFor({ state: 'hidden' }) // what is typed before that is lost
  await page.keyboard.type('echo "back $MARK"\n')
  await until('the same shell', async () => (await screenOf(page)).includes(`back ${shell}`))

  await command('devices', 'revoke', id)
  await page.getByText('The owner has removed this device; pair it again to come back.').waitFor()
  await picture(page, 'revoked')
  t.equal(await page.locator('.terminal-view').count(), 0)
  await page.reload()
  await page.getByLabel('Pairing link').waitFor()
  t.match(await command('devices', 'list', '--json'), /^\[\]/)
})

t.test(
  'npm run relay:demo shows all of it, step by step, and ends everything it started',
  async (t) => {
    const demo = startProgram(process.execPath, [join(ROOT, 'embedded/relay-demo.ts')])
    t.teardown(() => demo.stop())
    await demo.written(/The phone stays open\. Ctrl\+C ends everything\./)
    const text = demo.output()
    const [, shown = ''] = /It shows (\d{3} \d{3}),/.exec(text) ?? []
    t.match(
      text,
      new RegExp(`waiting +Demo phone .*${shown}`),
      'the list has the code of the phone',
    )
    t.match(text, /^ {3}│ hello$/m, 'the shell has answered')
    t.match(text, 'without pairing again')
    demo.signal('SIGINT')
    t.equal(await demo.exited, 0)
    t.equal(demo.output(), text, 'it says nothing more')
  },
)
