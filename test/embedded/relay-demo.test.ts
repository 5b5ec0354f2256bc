/** Does `npm run relay:demo` work on any machine, more than once at a time, and leave nothing behind? Here without a browser. */
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { offerOfLink } from '../../src/relay/protocol/offer.ts'
import { scanned } from '../helpers/camera.ts'
import { pairedDevice } from '../helpers/link.ts'
import { watch } from '../helpers/process.ts'
import { eventually, isAlive } from '../helpers/waiting.ts'

const DEMO = fileURLToPath(new URL('../../embedded/relay-demo.ts', import.meta.url))

const LINK = /http:\/\/localhost:\d+\/_gateway\/remote\/#\d+/

function demo(t: Test, ...args: readonly string[]) {
  const child = spawn(process.execPath, [DEMO, ...args], {
    // None of these settings is used.
    env: { PATH: process.env['PATH'], GATEWAY_PORT: '1', RELAY_PORT: '1', LINK_TARGET: 'none' },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  return watch(t, child)
}

async function isUp({ stdout, stderr, exited }: ReturnType<typeof demo>): Promise<string> {
  const up = eventually(() => stdout().includes('Ctrl+C ends everything.'), 'the demo', 60_000)
  const end = exited.then((code) => `ended with ${code}: ${stderr()}`)
  const problem = await Promise.race([up, end])
  if (problem !== undefined) throw new Error(problem)
  return stdout()
}

t.test(
  'two demos print a code and a link each, and end with everything they started',
  async (t) => {
    const demos = [demo(t, '--no-browser'), demo(t, '--no-browser')]
    const texts = await Promise.all(demos.map(isUp))
    const links = texts.map((text) => LINK.exec(text)?.[0] ?? '')
    t.equal(new Set(links.map((link) => new URL(link).port)).size, 2, 'at addresses of their own')
    t.equal(new Set(links.map((link) => offerOfLink(link).relay)).size, 2)
    t.same(
      texts.map((text) => scanned(text.replaceAll(/^ +/gm, ''))),
      links,
      'the code is the link',
    )
    const device = await pairedDevice(t, offerOfLink(links[0] ?? ''))
    await device.welcomed()
    const approve = /GATEWAY_STATE_DIR=(\S+) npm run --silent devices -- approve \S{22}/
    await eventually(() => approve.test(demos[0]?.stdout() ?? ''), 'the command that approves it')
    const folder = approve.exec(demos[0]?.stdout() ?? '')?.[1] ?? ''
    t.ok(existsSync(folder))
    for (const { child } of demos) child.kill('SIGINT')
    t.same(await Promise.all(demos.map(({ exited }) => exited)), [0, 0])
    t.same(
      demos.map(({ stderr }) => stderr()),
      ['', ''],
    )
    t.notOk(existsSync(folder), 'it keeps nothing')
    t.notOk(demos.some(({ pid }) => isAlive(pid)))
  },
)

t.test('what it does not know is wrong usage, and --help tells what it knows', async (t) => {
  const wrong = demo(t, '--brwser')
  t.equal(await wrong.exited, 64)
  t.match(wrong.stderr(), '--help')
  const help = demo(t, '--help')
  t.equal(await help.exited, 0)
  for (const option of ['--window', '--no-browser', 'Ctrl+C']) t.match(help.stdout(), option)
})
