/** Does a shell survive a reload of its page, and the end of the gateway, with vim, less and top on its screen? */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import * as caddy from './caddy.ts'
import * as chromium from './chromium.ts'
import { startKeptShells } from './kept-shells.ts'
import { FOLDER, installDebianPackage, until } from './neighbour.ts'
import { comparedWith, UncutPage } from './screens.ts'
import * as ttyd from './ttyd.ts'

await Promise.all([caddy.install(), chromium.install()])
await ttyd.install(FOLDER)
await installDebianPackage('vim', '/usr/bin/vim')
await installDebianPackage('less', '/usr/bin/less')
await installDebianPackage('procps', '/usr/bin/top')
const browser = await chromium.startChromium()
t.teardown(() => browser.stop())
const kept = await startKeptShells(t, browser)

/** How often the gateway is upgraded in a row. */
const UPGRADES = 10

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
  await kept.restart('SIGTERM')
  await same('SIGTERM and another gateway: vim with a selection')
  await page.keyboard.press('Escape')
  await terminal.type('Goadded after the restart')
  await page.keyboard.press('Escape')
  await terminal.command(':wq')
  await until('the file', () =>
    readFileSync(join(kept.folder, 'text'), 'utf8').includes('added after the restart'),
  )

  await terminal.ask('clear; seq 1 300 >numbers; less numbers', /numbers/)
  await terminal.type('d')
  await kept.restart('SIGKILL')
  await same('kill -9 and another gateway: less')
  await terminal.type('q')

  await terminal.ask('top -d 1', /%Cpu/)
  const { sockets } = await terminal.traffic()
  await kept.upgrade()
  await until('the page to be back by itself', async () => {
    const now = await terminal.traffic()
    return now.sockets > sockets && now.isOpen
  })
  await same('SIGUSR2: top')
  await terminal.type('q')

  await terminal.ask('clear; echo PID-$$-', new RegExp(`PID-${pid}-`))
  t.equal(kept.tap.shells.length, before + 1, 'it was the same shell all the time')
  t.notMatch(shell.typed(), /\x1b\[[>?]?[0-9;]*[cR$y]/, 'no question was answered twice')
})

t.test('ten upgrades in a row, under output', async (t) => {
  const page = await kept.signIn()
  const { terminal, shell, pid } = await kept.open(page)
  const uncut = await UncutPage.open(browser, { shell, like: page, ttydUrl: kept.ttyd.url })
  t.teardown(() => uncut.close())
  await terminal.command('n=0; while [ ! -e stop ]; do n=$((n+1)); echo "row $n"; sleep 0.01; done')
  for (let upgrade = 1; upgrade <= UPGRADES; upgrade++) {
    const { sockets } = await terminal.traffic()
    await kept.upgrade()
    await until('the page to be back by itself', async () => {
      const now = await terminal.traffic()
      return now.sockets > sockets && now.isOpen
    })
  }
  writeFileSync(join(kept.folder, 'stop'), '')
  t.same(await comparedWith(uncut, page), [])
  const rows = Array.from((await terminal.text()).matchAll(/^row (\d+)$/gm), ([, n]) => Number(n))
  t.ok(rows.length > 100)
  t.same(
    rows,
    rows.map((_, i) => (rows[0] ?? 0) + i),
    'no row is missing, and none is there twice',
  )
  await terminal.ask('clear; echo PID-$$-', new RegExp(`PID-${pid}-`))
})
