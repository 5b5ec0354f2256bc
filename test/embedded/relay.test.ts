/** Can a device be paired with the workspace of `npm start`, over a relay on this machine that ends with it? */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { offerOfLink } from '../../src/relay/protocol/offer.ts'
import { temporaryFolder } from '../helpers/process.ts'
import { eventually, isAlive } from '../helpers/waiting.ts'
import { start } from './started.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))

/** The lines of a program's log in the state folder; none before it has written any. */
function linesOf(folder: string, log: string) {
  let text = ''
  try {
    text = readFileSync(join(folder, '.workspace', log), 'utf8')
  } catch {
    return []
  }
  return text
    .split('\n')
    .filter((line) => line.endsWith('}'))
    .map((line) => JSON.parse(line) as { msg: string; pid: number; port: number })
}

/** The link's process, when it has connected to the relay. */
async function linkOf(folder: string): Promise<number> {
  const says = (what: string) => linesOf(folder, 'link.log').find(({ msg }) => msg === what)
  await eventually(() => says('connected to the relay') !== undefined, 'the link', 30_000)
  return says('linking devices')?.pid ?? 0
}

/** Runs an npm script for the workspace in a folder. @returns what it prints */
async function npm(folder: string, args: readonly string[]): Promise<string> {
  const child = spawn('npm', ['run', '--silent', ...args], {
    cwd: ROOT,
    env: { PATH: process.env['PATH'], GATEWAY_STATE_DIR: join(folder, '.workspace') },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const text = child.stdout.toArray()
  await once(child, 'close')
  return Buffer.concat(await text).toString()
}

t.test('the printed command makes a pairing link for the workspace and its relay', async (t) => {
  const folder = temporaryFolder(t)
  const { child, welcome, ended } = start(t, { GATEWAY_PORT: '0' }, folder)
  const { origin, text } = await welcome()
  t.match(text, /npm run --silent pair -- --sub \S+\n/)
  const link = await linkOf(folder)
  const [relay] = linesOf(folder, 'relay.log')
  const made = JSON.parse(await npm(folder, ['pair', '--', '--sub', 'me', '--json'])) as {
    link: string
  }
  t.ok(made.link.startsWith(`${origin}/_gateway/remote/#`))
  t.equal(offerOfLink(made.link).relay, `ws://127.0.0.1:${relay?.port}`)
  t.same(JSON.parse(await npm(folder, ['devices', '--', 'list', '--json'])), [])
  for (const pid of [link, relay?.pid ?? 0]) {
    t.ok(isAlive(pid))
    t.notMatch(readFileSync(`/proc/${pid}/environ`, 'utf8'), /SECRET|JWT/, 'it gets no secret')
  }
  child.kill('SIGTERM')
  t.same(await ended, { code: 0, errors: '' })
  for (const pid of [link, relay?.pid ?? 0]) t.notOk(isAlive(pid))
})

t.test('relay and link end with an npm start that was killed', async (t) => {
  const folder = temporaryFolder(t)
  const { child, welcome } = start(t, { GATEWAY_PORT: '0' }, folder)
  await welcome()
  const pids = [await linkOf(folder), linesOf(folder, 'relay.log')[0]?.pid ?? 0]
  child.kill('SIGKILL')
  await eventually(() => !pids.some(isAlive), 'their end', 30_000)
})

t.test('a relay whose port another program has taken gets another', async (t) => {
  const folder = temporaryFolder(t)
  const first = start(t, { GATEWAY_PORT: '0' }, folder)
  await first.welcome()
  first.child.kill('SIGTERM')
  t.same(await first.ended, { code: 0, errors: '' })
  const ports = () =>
    linesOf(folder, 'relay.log')
      .filter(({ msg }) => msg === 'relaying')
      .map(({ port }) => port)
  const other = createServer().listen(ports()[0], '127.0.0.1')
  t.teardown(() => other.close())
  await once(other, 'listening')
  const second = start(t, { GATEWAY_PORT: '0' }, folder)
  t.match((await second.welcome()).text, 'npm run --silent pair')
  t.equal(ports().length, 2)
  t.not(ports()[1], ports()[0])
})
