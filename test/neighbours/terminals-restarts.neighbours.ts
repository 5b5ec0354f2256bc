/** Does a shell survive a reload of its page, and the end of the gateway, with vim, less and top on its screen? */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import * as caddy from './caddy.ts'
import * as chromium from './chromium.ts'
import { startKeptShells } from './kept-shells.ts'
import { FOLDER, until } from './neighbour.ts'
import { comparedWith, nextConnection, UncutPage } from './screens.ts'
import * as ttyd from './ttyd.ts'

await Promise.all([caddy.install(), chromium.install()])
await ttyd.install(FOLDER)
await ttyd.installShellPrograms()
const browser = await chromium.startChromium()
t.teardown(() => browser.stop())
const kept = await startKeptShells(t, browser)

const TEXT = '#!/bin/sh\n# ü 漢字 😀 text\nif true; then\n\techo "hello"\nfi\n'.repeat(30)
const VIM = 'vim -u NONE -N -n -c "syntax on" -c "set showmode number mouse=a ttymouse=sgr" text'

t.test('vim, less and top survive a reload and every end of the gateway', async (t) => {
  writeFileSync(join(kept.folder, 'text'), TEXT)
  const page = await kept.signIn()
  const before = kept.tap.shells.length
  const { terminal, shell, pid } = await kept.open(page)
  const uncut = await UncutPage.open(browser, { shell, like: page, ttydUrl: kept.ttyd.url })
  t.teardown(() => uncut.close())
  const same = async (what: string) => t.same(await comparedWith(uncut, page), [], what)
  const printed = (text: string | RegExp) =>
    until(String(text), () => shell.printed().search(text) >= 0)

  await terminal.ask('seq 1 2000', /^2000$/m)
  await page.reload()
  await same('reload: a thousand lines of scrollback')

  await terminal.ask(VIM, /hello/)
  await page.reload()
  await same('reload: vim')
  await terminal.type('7jVjjj')
  await printed('VISUAL')
  await kept.restart('SIGTERM', async () => {
    await page.getByText('to Reconnect').waitFor()
    t.match(
      await terminal.text(),
      /Your shell is kept .* press Enter or reload it\./,
      'the person is told',
    )
  })
  await same('SIGTERM and another gateway: vim with a selection')
  await page.keyboard.press('Escape')
  await terminal.type('Goadded after the restart')
  await page.keyboard.press('Escape')
  await terminal.command(':wq')
  await terminal.prompts()
  await until('the file', () =>
    readFileSync(join(kept.folder, 'text'), 'utf8').includes('added after the restart'),
  )

  await terminal.ask('clear; seq 1 300 >numbers; less numbers', /numbers/)
  await terminal.type('d')
  const { sockets: beforeKill } = await terminal.traffic()
  await kept.restart('SIGKILL')
  await nextConnection(terminal, beforeKill)
  await same('kill -9 and another gateway: less')
  await terminal.type('q')
  await terminal.prompts()

  await terminal.ask('top -d 1', /%Cpu/)
  const { sockets } = await terminal.traffic()
  await kept.upgrade()
  const backMs = await terminal.isBack(sockets + 1)
  t.comment(`after SIGUSR2, the page was back by itself in ${backMs} ms`)
  await same('SIGUSR2: top')
  await terminal.type('q')
  await terminal.prompts()

  await terminal.ask('clear; echo PID-$$-', new RegExp(`PID-${pid}-`))
  t.equal(kept.tap.shells.length, before + 1, 'it was the same shell all the time')
  const count = (text: string, part: string) => text.split(part).length - 1
  t.equal(
    count(shell.typed(), '\x1b[>'),
    count(shell.printed(), '\x1b[>c'),
    'what vim asked its terminal was answered once',
  )
})
