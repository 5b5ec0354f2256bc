/** Does a page find its shell when its line has frozen, so that nobody heard of an end, and when it comes back with another size? */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import * as caddy from './caddy.ts'
import * as chromium from './chromium.ts'
import { startKeptShells } from './kept-shells.ts'
import { FOLDER, until } from './neighbour.ts'
import { comparedWith, UncutPage } from './screens.ts'
import * as ttyd from './ttyd.ts'

await Promise.all([caddy.install(), chromium.install()])
await ttyd.install(FOLDER)
await ttyd.installShellPrograms()
const browser = await chromium.startChromium()
t.teardown(() => browser.stop())
const kept = await startKeptShells(t, browser)

t.test('a frozen line, and then a reload', async (t) => {
  const page = await kept.signIn()
  const { terminal, shell, pid } = await kept.open(page)
  const uncut = await UncutPage.open(browser, { shell, like: page, ttydUrl: kept.ttyd.url })
  t.teardown(() => uncut.close())
  const shells = kept.tap.shells.length
  const go = join(kept.folder, 'go')
  await terminal.ask('echo READY; while [ ! -e go ]; do sleep 0.05; done; seq 1 800', /^READY$/m)
  t.equal(kept.toGateway.freeze(), 1, 'there was a line to freeze')
  writeFileSync(go, '')
  await until('output that no page gets', () => /^800\r$/m.test(shell.printed()))
  await terminal.type('lost')
  t.notMatch(await terminal.text(), /^1$/m, 'the page has heard nothing of it')
  t.match(await kept.list(), [{ state: 'attached' }], 'and nobody of an end')

  await page.reload()
  t.same(
    await comparedWith(uncut, page),
    [],
    'cell by cell, it is what a page shows that was never cut',
  )
  await terminal.ask('clear; echo PID-$$-', new RegExp(`PID-${pid}-`))
  t.equal(kept.tap.shells.length, shells, 'it is the same shell')
  t.notMatch(shell.typed(), 'lost', 'what was typed into the frozen page is not typed later')
  t.match(await kept.list(), [{ state: 'attached' }], 'and there is one terminal')
})

t.test('a page that comes back with another size', async (t) => {
  const page = await kept.signIn()
  const { terminal, shell, pid } = await kept.open(page)
  const uncut = await UncutPage.open(browser, { shell, like: page, ttydUrl: kept.ttyd.url })
  t.teardown(() => uncut.close())
  const [shells, address] = [kept.tap.shells.length, page.url()]
  const isParked = async () =>
    (await kept.list()).some(({ state, tab }) => state === 'parked' && address.endsWith(`=${tab}`))

  /** Leaves the terminal's page, and comes back to it in a window of another size. @returns the size, as `stty size` has it */
  async function comeBack(width: number, height: number): Promise<string> {
    await page.goto('about:blank')
    await until('a parked terminal', isParked)
    await uncut.show()
    await page.setViewportSize({ width, height })
    await page.goto(address)
    await terminal.isBack(1)
    const size = await terminal.size()
    // A window's size is not enough: ttyd's page fits fewer columns into it when it is loaded than when it is resized.
    const [rows, columns] = size.split(' ')
    await uncut.page.evaluate(`window.term.resize(${columns}, ${rows})`)
    t.same(await comparedWith(uncut, page), [], `as in a page that became ${size}`)
    return size
  }
  const sttySays = async (size: string) =>
    t.ok(await terminal.ask('clear; stty size', new RegExp(`^${size}\\s*$`, 'm')), size)

  await terminal.ask(
    String.raw`for i in $(seq 1 120); do printf '\033[3%dm%s\033[m\n' $((i%8)) "$(seq -s ' ' 1 $i)"; done`,
    / 119 120$/m,
  )
  await terminal.prompts()
  const narrow = await comeBack(520, 900)
  await sttySays(narrow)
  await terminal.command('seq 1 200')
  await terminal.shows(/^200$/m)
  const wide = await comeBack(1500, 500)
  await sttySays(wide)

  writeFileSync(join(kept.folder, 'text'), 'some words in a line\n'.repeat(100))
  await terminal.ask('vim -u NONE -N -n -c "set number" text', /100L/)
  const small = await comeBack(700, 620)
  await terminal.command(':q')
  await terminal.prompts()
  await sttySays(small)
  t.equal(new Set([narrow, wide, small]).size, 3)
  await terminal.ask('clear; echo PID-$$-', new RegExp(`PID-${pid}-`))
  t.equal(kept.tap.shells.length, shells, 'it was the same shell all the time')
})
