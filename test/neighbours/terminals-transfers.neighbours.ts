/** What happens to a file transfer (sz and rz in the shell) when the network is cut? It ends, with a clear message. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import * as caddy from './caddy.ts'
import * as chromium from './chromium.ts'
import { startKeptShells } from './kept-shells.ts'
import { FOLDER, until } from './neighbour.ts'
import { enterIfAsked } from './screens.ts'
import * as ttyd from './ttyd.ts'

await Promise.all([caddy.install(), chromium.install()])
await ttyd.install(FOLDER)
await ttyd.installZmodem()
const browser = await chromium.startChromium()
t.teardown(() => browser.stop())
const kept = await startKeptShells(t, browser)

/** The beginnings of zmodem's headers: ZRQINIT of `sz`, and ZRINIT of `rz`. Debian's ttyd shows them as text. */
const TRANSFERS = [
  { name: 'a download', command: 'sz large', begins: '**\x18B00' },
  { name: 'an upload', command: 'rz', begins: '**\x18B01' },
]

for (const { name, command, begins } of TRANSFERS)
  t.test(`${name} ends when the network is cut`, async (t) => {
    writeFileSync(join(kept.folder, 'large'), Buffer.alloc(4 * 1024 * 1024, 'large'))
    const page = await kept.signIn()
    const { terminal, shell, pid } = await kept.open(page)
    await terminal.command(`${command}; echo ENDED-$?-`)
    await until('the transfer to begin', () => shell.printed().includes(begins))
    const printed = shell.printed().length
    kept.toGateway.cut()
    await until('the program to end', () => /ENDED-[1-9]\d*-/.test(shell.printed().slice(printed)))
    await until('the message', async () => {
      await enterIfAsked(page)
      return /ENDED-[1-9]\d*-/.test(await terminal.text())
    })
    t.match(await terminal.text(), /transfer/i, 'the person is told')
    await terminal.ask('clear; echo PID-$$-', new RegExp(`PID-${pid}-`))
  })
