/**
 * What happens to a file transfer (sz and rz in the shell) when the network is cut? It ends, with a clear message. And while the
 * page is slow? The shell waits, for as long as it takes.
 */
import { spawn, type ChildProcessByStdio } from 'node:child_process'
import { randomBytes, randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Readable, Writable } from 'node:stream'
import t, { type Test } from 'tap'
import { WebSocket } from 'ws'
import { parseServiceUrl } from '../../src/config/values.ts'
import { openTtyd } from '../../src/terminals/keeper/ttyd-link.ts'
import { elapse, later } from '../helpers/waiting.ts'
import * as caddy from './caddy.ts'
import * as chromium from './chromium.ts'
import { startKeptShells } from './kept-shells.ts'
import { FOLDER, until } from './neighbour.ts'
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

/** The size of the file, in bytes. */
const SIZE = 8 * 1024 * 1024

/** How long the page waits between two pieces of a file, in milliseconds. */
const PAUSE_MS = 10

/** A page that speaks zmodem, which Debian's ttyd does not: a program of its own, `rz` or `sz`, has the file. */
class TransferringPage {
  readonly #socket: WebSocket
  readonly #cwd: string
  #program: ChildProcessByStdio<Writable, Readable, null> | undefined
  /** Everything that came, as text. */
  screen = ''
  /** How many bytes of a transfer went this way or that. */
  transferred = 0

  private constructor(socket: WebSocket, cwd: string) {
    this.#socket = socket
    this.#cwd = cwd
    socket.on('error', () => socket.terminate())
    socket.on('message', (data: Buffer) => this.#onMessage(data))
  }

  /** Opens one, as a program of the workspace's owner. */
  static async open(t: Test, tab: string, cwd: string): Promise<TransferringPage> {
    const workspace = kept.workspace()
    const socket = new WebSocket(
      `${workspace.url.replace('http', 'ws')}/terminal/ws?tab=${tab}`,
      'tty',
      {
        headers: {
          Cookie: `workspace_session=${TOKENS.alice}`,
          Origin: workspace.url,
          Authorization: `Basic ${TOKEN}`,
        },
        perMessageDeflate: false,
      },
    )
    const page = new TransferringPage(socket, cwd)
    t.teardown(() => page.leave())
    await once(socket, 'open')
    socket.send(JSON.stringify({ AuthToken: TOKEN, columns: 80, rows: 24 }))
    return page
  }

  type(text: string): void {
    this.#socket.send(`0${text}`)
  }

  /** Runs the page's side of a transfer, once the shell's side has begun. */
  transfer(command: 'rz' | 'sz', args: readonly string[]): Promise<unknown> {
    const program = spawn(command, args, { cwd: this.#cwd, stdio: ['pipe', 'pipe', 'ignore'] })
    program.stdin.on('error', () => {})
    program.stdout.on('data', (bytes: Buffer) => {
      this.transferred += bytes.length
      this.#socket.send(Buffer.concat([Buffer.from('0'), bytes]))
      program.stdout.pause() // so that a file is under way for some time
      later(PAUSE_MS, () => program.stdout.resume())
    })
    this.#program = program
    return once(program, 'close').finally(() => (this.#program = undefined))
  }

  /** The connection is lost, and the page's side of a transfer with it. */
  leave(): void {
    this.#socket.terminate()
    this.#program?.kill('SIGKILL')
  }

  #onMessage(data: Buffer): void {
    if (data[0] !== 0x30) return
    this.screen += data.toString('latin1', 1)
    if (this.#program === undefined) return
    this.transferred += data.length - 1
    this.#program.stdin.write(data.subarray(1))
  }
}

const TOKENS = { alice: await kept.workspace().token('alice') }

/** What the shell runs, how its side begins (ZRQINIT of `sz`, ZRINIT of `rz`), and what the page runs. */
const TRANSFERS = [
  { name: 'a download', shell: 'sz -e large', begins: '**\x18B00', page: ['rz', ['-e', '-y']] },
  { name: 'an upload', shell: 'rz -e -y', begins: '**\x18B01', page: ['sz', ['-e', 'large']] },
] as const

for (const { name, shell, begins, page } of TRANSFERS) {
  const there = name === 'a download' ? 'page' : 'shell'
  const open = async (t: Test) => {
    const folder = mkdtempSync(join(tmpdir(), 'workspace-gateway-page-'))
    t.teardown(() => rmSync(folder, { recursive: true, force: true }))
    const [from, to] = there === 'page' ? [kept.folder, folder] : [folder, kept.folder]
    rmSync(join(to, 'large'), { force: true })
    const content = randomBytes(SIZE)
    writeFileSync(join(from, 'large'), content)
    const tab = `transfer-${randomUUID()}`
    const client = await TransferringPage.open(t, tab, folder)
    client.type('echo PID-$$-\r')
    const [, pid = ''] = await until('the shell', () => /PID-(\d+)-/.exec(client.screen))
    client.type(`${shell}; echo ENDED-$?-\r`)
    await until('the transfer to begin', () => client.screen.includes(begins))
    return { client, tab, folder, content, pid, file: join(to, 'large') }
  }

  t.test(`${name} arrives byte for byte`, async (t) => {
    const { client, content, file } = await open(t)
    await client.transfer(page[0], page[1])
    await until('the end in the shell', () => client.screen.includes('ENDED-0-'))
    t.ok(readFileSync(file).equals(content))
  })

  t.test(`${name} ends when the connection is cut`, async (t) => {
    const { client, tab, folder, pid } = await open(t)
    const running = kept.tap.shells.at(-1)
    void client.transfer(page[0], page[1])
    await until('some of the file', () => client.transferred > SIZE / 8)
    client.leave()
    await until('the program to end', () => /ENDED-[1-9]\d*-/.test(running?.printed() ?? ''))
    const next = await TransferringPage.open(t, tab, folder)
    const message = 'The file transfer was cut off with the connection.'
    await until('the person to be told', () => next.screen.includes(message))
    next.type('echo PID-$$-\r')
    await until('the same shell', () => next.screen.includes(`PID-${pid}-`))
    t.equal(kept.tap.shells.at(-1), running, 'no other shell was opened')
  })
}
