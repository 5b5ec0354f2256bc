/** Does the bundle, the one file in the image, behave like the sources, and does it run without any other file? */
import { execFileSync, spawn } from 'node:child_process'
import { copyFileSync, existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { constants } from 'node:http2'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import t from 'tap'
import { EXIT } from '../../src/process/exit-codes.ts'
import { pageOf } from '../helpers/api.ts'
import { Authenticator } from '../helpers/authenticator.ts'
import { NAVIGATION, ORIGIN } from '../helpers/door.ts'
import { testSettings, token } from '../helpers/gateway.ts'
import { serveWithPortKeeper } from '../helpers/port-keeper.ts'
import { openTerminal, startScriptedTtyd } from '../helpers/kept-terminals.ts'
import { MAIN, run, serve, temporaryFolder, watch } from '../helpers/process.ts'
import { startUpstream } from '../helpers/upstream.ts'
import { eventually } from '../helpers/waiting.ts'
import { clientFrame, send, upgrade } from '../helpers/wire.ts'

const ROOT = new URL('../..', import.meta.url).pathname

// The bundle is in a folder of its own, so that it cannot load any other file of the project.
const folder = temporaryFolder(t)
const bundle = join(folder, 'workspace-gateway.cjs')
execFileSync(process.execPath, [join(ROOT, 'build/bundle.ts'), bundle], { stdio: 'pipe' })

t.test('the bundle serves requests, refusals and WebSockets, and stops cleanly', async (t) => {
  const [dashboard, terminal] = [await startUpstream(t), await startUpstream(t)]
  const settings = {
    GATEWAY_DASHBOARD_URL: dashboard.url,
    GATEWAY_TERMINAL_URL: terminal.url,
    GATEWAY_RATE_LIMIT: '5',
  }
  const program = await serve(t, settings, bundle)
  const auth = `Authorization: Bearer ${await token()}`

  const page = await send(program.port, 'POST /page?x=1', [auth, 'Content-Length: 4'], 'body')
  t.equal(page.status, 200)
  t.same(JSON.parse(page.body), { method: 'POST', url: '/page?x=1', body: 4 })
  t.equal(page.headers['ratelimit'], '"address";r=4;t=60')
  t.equal(dashboard.requests[0]?.headers['x-forwarded-user'], 'alice')

  t.equal((await send(program.port, 'GET /')).headers['x-gateway-error'], 'sign-in-required')
  t.equal((await send(program.port, 'GET /.env')).status, 403)
  t.equal((await send(program.port, 'GET /health')).status, 200)

  const tty = await upgrade(program.port, '/terminal/ws', [auth, 'Sec-WebSocket-Protocol: tty'])
  t.equal(tty.answer.status, 101)
  tty.socket.write(clientFrame(2, Buffer.from('echo')))
  t.equal((await tty.until(6)).toString('latin1'), '\x82\x04echo')
  t.equal((await send(program.port, 'GET /', [auth])).status, 200)
  t.equal((await send(program.port, 'GET /', [auth])).status, 429)
  tty.socket.destroy()

  program.child.kill('SIGTERM')
  t.equal(await program.exited, 0)
  t.equal(program.stderr(), '')
})

t.test('the bundle keeps terminals, with the parser that it loads for the first one', async (t) => {
  const ttyd = await startScriptedTtyd(t)
  const path = join(folder, 'terminals.sock')
  const keeper = run(
    t,
    ['terminals'],
    { TERMINALS_SOCKET: path, TERMINALS_TTYD_URL: ttyd.url },
    bundle,
  )
  await eventually(() => keeper.stdout().includes('keeping terminals'), 'the keeper', 30_000)
  const first = await openTerminal(t, path)
  const shell = await ttyd.shell(0)
  shell.print('\u001b[31mred\u001b[0m')
  await eventually(() => first.output().includes('red'), 'output')
  first.socket.terminate()
  await eventually(() => keeper.stdout().includes('terminal parked'), 'the park')
  const second = await openTerminal(t, path)
  t.equal(second.arrival, 'back')
  await eventually(() => second.output().includes('red'), 'the screen')
  keeper.child.kill('SIGTERM')
  t.equal(await keeper.exited, 0)
  t.equal(keeper.stderr(), '')
  t.notOk(existsSync(path))
})

/** The `options` in a page that makes or shows a passkey. */
const optionsIn = ({ body }: { readonly body: string }) =>
  JSON.parse(
    (/data-options="([^"]*)"/.exec(body)?.[1] ?? 'null').replaceAll(
      /&#(\d+);/g,
      (_, code: string) => String.fromCharCode(Number(code)),
    ),
  ) as object

t.test(
  'what the bundle loads for the first passkey is in it, also after an upgrade of the file',
  async (t) => {
    const copy = join(temporaryFolder(t), 'workspace-gateway.cjs')
    copyFileSync(bundle, copy)
    const settings = { GATEWAY_SECOND_FACTOR: 'local', GATEWAY_TRUSTED_PROXIES: 'loopback' }
    const program = await serve(t, settings, copy)
    rmSync(copy)
    const post = async (path: string, page: readonly string[], fields: Record<string, string>) => {
      const body = new URLSearchParams(fields).toString()
      const type = 'Content-Type: application/x-www-form-urlencoded'
      const headers = [...page, ...NAVIGATION, type, `Content-Length: ${body.length}`]
      return send(program.port, `POST /_gateway/${path}`, headers, body)
    }
    for (const [subject, format] of [
      ['alice', 'none'],
      ['bob', 'self'],
    ] as const) {
      const page = await pageOf(program, subject)
      const device = new Authenticator()
      const begun = await post('second-factor/passkey', page, {})
      const made = device.create(optionsIn(begun), ORIGIN, { format })
      const passkey = JSON.stringify(made)
      const added = await post('second-factor/passkey/confirm', page, { passkey, name: 'key' })
      t.match(added, { status: 200, body: /backup code/i }, format)
      const other = await pageOf(program, subject)
      const form = await send(program.port, 'GET /_gateway/verify-2fa', [...other, ...NAVIGATION])
      const shown = JSON.stringify(device.get(optionsIn(form), ORIGIN))
      t.match(await post('verify-2fa', other, { passkey: shown }), { status: 303 }, format)
    }
    const page = await pageOf(program, 'carol')
    t.match(await post('second-factor/app', page, {}), { status: 200, body: /<svg / })
    program.child.kill('SIGTERM')
    t.equal(await program.exited, 0)
    t.equal(program.stderr(), '')
  },
)

t.test(
  'no library for certificates is in the bundle, and the replacement fails on any use',
  async (t) => {
    const text = readFileSync(bundle, 'utf8')
    for (const name of ['@peculiar/x509', '@peculiar/asn1-android', 'reflect-metadata', 'tsyringe'])
      t.notOk(text.includes(`node_modules/${name}/`), name)
    const replacement: unknown = createRequire(import.meta.url)('../../build/no-certificates.cjs')
    t.throws(() => (replacement as { X509Certificate: unknown }).X509Certificate, {
      message: /X509Certificate was used/,
    })
  },
)

t.test('the bundle is ASCII, which is read fastest', async (t) => {
  t.equal(/.{0,40}[\u0080-\uffff].{0,40}/.exec(readFileSync(bundle, 'utf8'))?.[0], undefined)
})

t.test('undici is not in the bundle, and its replacement fails on any use', async (t) => {
  const text = readFileSync(bundle, 'utf8')
  t.notMatch(text, 'node_modules/undici/')
  t.match(text, 'undici is not in this bundle')
  const replacement: unknown = createRequire(import.meta.url)('../../build/no-undici.cjs')
  t.throws(() => (replacement as { Agent: unknown }).Agent, { message: /its Agent was used/ })
})

t.test('what packages require in vain is not in the bundle, and fails on any use', async (t) => {
  const text = readFileSync(bundle, 'utf8')
  for (const name of ['ajv', 'light-my-request', 'readable-stream', 'semver', 'thread-stream'])
    t.notOk(text.includes(`node_modules/${name}/`), name)
  t.notMatch(text, /require\("(?:node:)?http2"\)/)
  const replaced = createRequire(import.meta.url)
  const leftOut = replaced('../../build/left-out.cjs') as { inject: unknown }
  t.throws(() => leftOut.inject, { message: /its inject/ })
  const http2 = replaced('../../build/no-http2.cjs') as { constants: object; connect: unknown }
  t.match(http2.constants, { NGHTTP2_CANCEL: constants.NGHTTP2_CANCEL })
  t.throws(() => http2.connect, { message: /its connect was used/ })
})

t.test('the bundle’s commands print what the sources print', async (t) => {
  const env = { GATEWAY_WORKSPACE: 'houston', GATEWAY_JWT_SECRET: 'short' }
  for (const args of [
    ['help'],
    ['--version'],
    ['help', 'token'],
    ['check'],
    ['check', '--explain', 'GATEWAY_PORT'],
    ['nonsense'],
  ]) {
    const [ours, sources] = [run(t, args, env, bundle), run(t, args, env)]
    t.equal(await ours.exited, await sources.exited, args.join(' '))
    t.equal(ours.stdout(), sources.stdout())
    t.equal(ours.stderr(), sources.stderr())
  }
  const refused = run(t, ['serve'], env, bundle)
  t.equal(await refused.exited, EXIT.config)
  t.match(refused.stderr(), /GATEWAY_JWT_SECRET/)
})

t.test('a hot restart starts the bundle that is on the disk', async (t) => {
  const program = await serveWithPortKeeper(t, {}, bundle)
  await program.replace()
  t.equal((await send(program.port, 'GET /')).status, 401)
  t.equal(await program.stop(), 0)
})

/** The Node programs on this machine's PATH that are too old for the gateway. */
function oldNodes(): string[] {
  const folders = (process.env['PATH'] ?? '').split(':')
  return [...new Set(folders.map((one) => join(one, 'node')))].filter((path) => {
    try {
      const version = execFileSync(path, ['--version'], { encoding: 'utf8' })
      return Number.parseInt(version.slice(1), 10) < 24
    } catch {
      return false
    }
  })
}

t.test(
  'a Node that is too old is refused with one line, before anything else happens',
  async (t) => {
    const settings = testSettings({ GATEWAY_STATE_DIR: join(folder, 'never') })
    const pretender = join(folder, 'pretender.cjs')
    writeFileSync(
      pretender,
      `Object.defineProperty(process, 'versions', { value: { ...process.versions, node: '20.20.2' } })`,
    )
    const { execPath } = process
    const starts: Array<[program: string, args: string[]]> = [
      [execPath, ['--require', pretender, bundle, 'serve']],
      [execPath, ['--require', pretender, MAIN, 'serve']],
      ...oldNodes().map((node): [string, string[]] => [node, [bundle, 'serve']]),
    ]
    for (const [program, args] of starts) {
      const child = spawn(program, args, { env: settings, stdio: ['ignore', 'pipe', 'pipe'] })
      const refused = watch(t, child)
      t.equal(await refused.exited, EXIT.config, refused.stderr())
      t.match(
        refused.stderr(),
        /^workspace-gateway: needs Node 24 or newer; this is Node [\d.]+ \([^\n]+\)\n$/,
      )
      t.equal(refused.stdout(), '')
    }
    t.notOk(existsSync(join(folder, 'never')), 'nothing was begun')
    const { engines } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
      engines: { node: string }
    }
    t.equal(engines.node, '>=24.0.0', 'as the guard says')
  },
)
