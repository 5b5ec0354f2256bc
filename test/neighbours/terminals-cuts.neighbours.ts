/** Does a shell survive a lost network, and does its page show the same as one that was never cut? */
import { readFileSync, writeFileSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { elapse } from '../helpers/waiting.ts'
import * as caddy from './caddy.ts'
import * as chromium from './chromium.ts'
import { startKeptShells } from './kept-shells.ts'
import { FOLDER, run, until } from './neighbour.ts'
import { comparedWith, nextConnection, UncutPage } from './screens.ts'
import * as ttyd from './ttyd.ts'

await Promise.all([caddy.install(), chromium.install()])
await ttyd.install(FOLDER)
const browser = await chromium.startChromium()
t.teardown(() => browser.stop())
const kept = await startKeptShells(t, browser)

/** How often the network is cut under output. TEST_ROUNDS can set more. */
const CUTS = Number(process.env['TEST_ROUNDS'] ?? 100)

/** How often it is cut while somebody types. */
const TYPED_LINES = 20

/**
 * A program that prints numbered lines in colours, some longer than the screen is wide, when it is told to: a burst, and a line
 * that says that the burst is over.
 */
const BURSTS = `
exec 3<>go
n=0
while read -r burst <&3; do
  i=0
  while [ $i -lt 40 ]; do
    n=$((n+1)); i=$((i+1))
    printf '\\033[3%dm%06d\\033[m ' $((n%8)) $n
    [ $((n%7)) = 0 ] && printf 'a long line that goes on and on %.0s' 1 2 3 4 5
    printf '\\033[1mü 漢字 😀\\033[22m\\r\\n'
    [ $((n%20)) = 0 ] && sleep 0.02
  done
  printf 'BURST-%s-OVER\\r\\n' "$burst"
done
`

t.test('a hundred cuts at random moments under output', async (t) => {
  writeFileSync(join(kept.folder, 'bursts'), BURSTS)
  const go = join(kept.folder, 'go')
  await run('mkfifo', [go])
  const page = await kept.signIn()
  const { terminal, shell, pid } = await kept.open(page)
  const uncut = await UncutPage.open(browser, { shell, like: page, ttydUrl: kept.ttyd.url })
  t.teardown(() => uncut.close())
  await terminal.command('sh ./bursts')
  const lines = [kept.toGateway, kept.toKeeper]
  const faults: string[] = []
  let cuts = 0
  for (let round = 1; round <= CUTS && faults.length === 0; round++) {
    const { sockets } = await terminal.traffic()
    await writeFile(go, `${round}\n`)
    await elapse(Math.random() * 150, 'a random moment')
    if ((lines[round % 2]?.cut() ?? 0) > 0) cuts++
    await until('the end of the burst', () => shell.printed().includes(`BURST-${round}-OVER`))
    await nextConnection(terminal, sockets)
    faults.push(...(await comparedWith(uncut, page, round % 10 === 0 ? {} : { last: 60 })))
  }
  t.same(faults, [], 'cell by cell, it is what a page shows that was never cut')
  t.equal(cuts, CUTS, 'each time, there was a connection to cut')
  const numbers = Array.from((await terminal.text()).matchAll(/^(\d{6}) /gm), ([, n]) => Number(n))
  t.ok(numbers.length > Math.min(500, CUTS * 30), 'the scrollback is there')
  t.same(
    numbers,
    numbers.map((_, i) => (numbers[0] ?? 0) + i),
    'no line is missing, and none is there twice',
  )
  await page.keyboard.press('Control+C')
  await terminal.ask('clear; echo PID-$$-', new RegExp(`PID-${pid}-`))
  t.equal(kept.tap.shells.length, 1, 'it was the same shell all the time')
})

t.test('what was typed and echoed is not lost, and nothing reaches the shell twice', async (t) => {
  const page = await kept.signIn()
  const before = kept.tap.shells.length
  const { terminal, shell, pid } = await kept.open(page)
  await terminal.ask('clear; echo READY; cat >typed', /^READY$/m)
  /** Sends a line in one message, as a paste does. */
  const send = (line: string) => page.evaluate(`window.term.paste(${JSON.stringify(`${line}\n`)})`)
  const isShown = async (line: string) => (await terminal.text()).split('\n').includes(line)
  const sent: string[] = []
  for (let i = 0; i < TYPED_LINES; i++) {
    const line = `line ${i}`
    const { sockets } = await terminal.traffic()
    await send(line)
    await elapse(Math.random() * 8, 'a random moment on the way there or back')
    kept.toGateway.cut()
    await nextConnection(terminal, sockets)
    // What the older connection brought is before this in the shell, or was dropped.
    await until('the line that shows the shell is heard', async () => {
      await send(`sync ${i}`)
      return until('its echo', () => isShown(`sync ${i}`), 1000)
    })
    if (await isShown(line)) sent.push(line)
    else {
      await send(line)
      await until('its echo', () => isShown(line))
      sent.push(line)
    }
  }
  await page.keyboard.press('Control+D')
  await terminal.ask('clear; echo PID-$$-', new RegExp(`PID-${pid}-`))
  const typed = readFileSync(join(kept.folder, 'typed'), 'utf8').split('\n')
  t.same(
    typed.filter((line) => line.startsWith('line')),
    sent,
    'each line once, in order',
  )
  t.equal(kept.tap.shells.length, before + 1, 'one shell')
  t.notOk(shell.typed().includes('\x1b'), 'no answer to a question that nobody asked')
})
