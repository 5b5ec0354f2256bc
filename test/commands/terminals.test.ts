/** Does `terminals` list and end shells, and say why there are none? */
import t from 'tap'
import { terminals } from '../../src/commands/terminals.ts'
import type { Environment } from '../../src/config/load.ts'
import type { Io } from '../../src/commands/io.ts'
import { runCommand } from '../helpers/command.ts'
import { startFakeKeeper } from '../helpers/fake-keeper.ts'
import { browser, openPage, startKeptWorkspace } from '../helpers/kept-workspace.ts'
import { startTestGateway } from '../helpers/gateway.ts'
import { temporaryFolder } from '../helpers/process.ts'
import { eventually } from '../helpers/waiting.ts'

const run = (env: Environment, ...args: string[]) =>
  runCommand(
    async (own: readonly string[], environment: Environment, io: Io) =>
      (await terminals(own, environment, io)) ?? -1,
    args,
    env,
  )

t.test('shells are listed and ended', async (t) => {
  const { ttyd, port, gateway } = await startKeptWorkspace(t)
  const env = { GATEWAY_STATE_DIR: gateway.config.stateDir }
  t.match(await run(env, 'list'), { code: 0, out: '', err: /: no terminal is open\n$/ })
  t.same(await run(env, 'list', '--json'), { code: 0, out: '[]\n', err: '' })
  const page = await openPage(t, port, await browser(port))
  const shell = await ttyd.shell(0)
  shell.socket.send(Buffer.from('1vim \u009b31m'))
  await eventually(() => page.messages.some((text) => text.startsWith('1vim')), 'the title')
  const { code, out, err } = await run(env, 'list', '--json')
  t.same({ code, err }, { code: 0, err: '' })
  const [terminal, ...others] = JSON.parse(out) as Array<{ id: string }>
  t.match(terminal, { state: 'attached', sub: 'alice', title: 'vim \\u{9b}31m', address: null })
  t.same(others, [])
  const { out: table } = await run(env, 'list')
  t.match(table, /^ID +STATE +SUB +STARTED +SINCE +WAITS UNTIL +SIZE +SESSION +TITLE$/m)
  t.match(
    table,
    /^\S+ +attached +alice( +20\d\d-\d\d-\d\d \d\d:\d\dZ){2} +- +80x24 +\S{22} +vim \\u\{9b\}31m$/m,
  )
  t.match(await run(env, 'end', 'none'), {
    code: 1,
    out: '',
    err: /: No terminal has this id, which must be whole/,
  })
  t.same(await run(env, 'end', terminal?.id ?? ''), { code: 0, out: '1 terminal ended\n', err: '' })
  await eventually(() => shell.hasEnded(), 'its shell has ended')
  await eventually(() => page.closedWith() === 1000, 'its page says "press Enter"')
})

t.test('why there are none is said', async (t) => {
  const keeper = await startFakeKeeper(t, { 'GET /_ready': { protocol: 2, version: '2.0.0' } })
  const rows: Array<[url: string, list: object, end: object]> = [
    [
      'http://127.0.0.1:1',
      { code: 0, out: '', err: /no keeper of terminals runs: each shell ends with its connection/ },
      { code: 1, err: /No terminal has this id/ },
    ],
    [keeper.url, { code: 0, err: /does not understand/ }, { code: 1, err: /No terminal/ }],
    [
      `unix:${temporaryFolder(t)}/none`,
      { code: 1, out: '', err: /keeper of terminals does not answer/ },
      { code: 1, err: /keeper of terminals does not answer/ },
    ],
  ]
  for (const [url, list, end] of rows) {
    const { config } = await startTestGateway(t, { GATEWAY_TERMINAL_URL: url })
    const env = { GATEWAY_STATE_DIR: config.stateDir }
    t.match(await run(env, 'list'), list)
    t.match(await run(env, 'end', 'aa'), end)
  }
  t.match(await run({ GATEWAY_STATE_DIR: temporaryFolder(t) }, 'list'), {
    code: 69,
    err: /no gateway is running/,
  })
})

t.test('a wrong command line starts no keeper', async (t) => {
  const env = { GATEWAY_STATE_DIR: temporaryFolder(t), TERMINALS_SOCKET: `${temporaryFolder(t)}/s` }
  for (const args of [['lst'], ['end'], ['end', 'a', 'b'], ['end', ''], ['--list']])
    t.match(await run(env, ...args), { code: 64, out: '', err: /terminals/ }, args.join(' '))
  await t.rejects(run(env, 'list', '--jsn'), { code: /^ERR_PARSE_ARGS/ })
})
