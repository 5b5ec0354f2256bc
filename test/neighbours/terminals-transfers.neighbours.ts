/**
 * What happens to a file transfer (sz and rz in the shell) when the network is cut? It ends, with a clear message. And while the
 * page is slow? The shell waits, for as long as it takes.
 */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { parseServiceUrl } from '../../src/config/values.ts'
import { openTtyd } from '../../src/terminals/keeper/ttyd-link.ts'
import { elapse } from '../helpers/waiting.ts'
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

const { username, password } = ttyd.CREDENTIAL
const TOKEN = Buffer.from(`${username}:${password}`).toString('base64')

/** ttyd hangs up 12 s after the last pong, with the interval of pings that it has by itself (seconds). */
const DEFAULT_PING_SECONDS = 5
const HANG_UP_MS = 12_000

t.test('ttyd does not hang up on a shell whose output is not read for a while', async (t) => {
  const shell = await ttyd.startTtyd(FOLDER, {
    options: ['--ping-interval', String(DEFAULT_PING_SECONDS)],
  })
  t.teardown(() => shell.stop())
  /** Opens a shell that prints without a pause, and stops reading. */
  const openHeld = async () => {
    const answer = await openTtyd({
      address: parseServiceUrl(shell.url),
      target: '/terminal/ws',
      headers: { Authorization: `Basic ${TOKEN}` },
      signal: new AbortController().signal,
      timeoutMs: 10_000,
    })
    if (answer.kind !== 'open') throw new Error('ttyd refused')
    const { link } = answer
    t.teardown(() => link.close())
    const held = { link, bytes: 0, hasEnded: false }
    link.listen({
      onMessage: ({ length }) => void (held.bytes += length),
      onEnd: () => void (held.hasEnded = true),
      onDrain() {},
    })
    link.send(Buffer.from(JSON.stringify({ AuthToken: TOKEN, columns: 80, rows: 24 })))
    link.send(Buffer.from('0yes\r'))
    await until('output', () => held.bytes > 100_000)
    link.hold(true)
    return held
  }
  const [reassured, forgotten] = [await openHeld(), await openHeld()]
  const heldFor = performance.now()
  while (performance.now() - heldFor < 2 * HANG_UP_MS) {
    reassured.link.reassure()
    await elapse(500, 'as often as the keeper checks')
  }
  for (const { link } of [reassured, forgotten]) link.hold(false)
  await until('ttyd to have hung up on the other', () => forgotten.hasEnded)
  const { bytes } = reassured
  await until('output to go on', () => reassured.bytes > bytes + 10_000_000)
  t.notOk(reassured.hasEnded)
})

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
