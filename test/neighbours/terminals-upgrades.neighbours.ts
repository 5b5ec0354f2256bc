/** Does a shell survive one upgrade of the gateway after the other, while it prints? */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import * as caddy from './caddy.ts'
import * as chromium from './chromium.ts'
import { startKeptShells } from './kept-shells.ts'
import { FOLDER } from './neighbour.ts'
import { comparedWith, UncutPage } from './screens.ts'
import * as ttyd from './ttyd.ts'

await Promise.all([caddy.install(), chromium.install()])
await ttyd.install(FOLDER)
const browser = await chromium.startChromium()
t.teardown(() => browser.stop())
const kept = await startKeptShells(t, browser)

/** How often the gateway is upgraded in a row. */
const UPGRADES = 10

t.test('ten upgrades in a row, under output', async (t) => {
  const page = await kept.signIn()
  const { terminal, shell, pid } = await kept.open(page)
  const uncut = await UncutPage.open(browser, { shell, like: page, ttydUrl: kept.ttyd.url })
  t.teardown(() => uncut.close())
  await terminal.command('n=0; while [ ! -e stop ]; do n=$((n+1)); echo "row $n"; sleep 0.01; done')
  const back: number[] = []
  for (let upgrade = 1; upgrade <= UPGRADES; upgrade++) {
    await kept.upgrade()
    back.push(await terminal.isBack(upgrade + 1))
  }
  t.comment(`the page was back by itself after ${back.join(', ')} ms`)
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
