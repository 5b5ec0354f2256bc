/** Do the commands of the link do what they say? `pair` and `devices` ask a running link; `link` runs one. */
import { once } from 'node:events'
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { qrCode, qrText } from '../../src/answers/qr.ts'
import { devices } from '../../src/commands/devices.ts'
import { pair } from '../../src/commands/pair.ts'
import { offerDigits, offerOfLink } from '../../src/relay/protocol/offer.ts'
import { scanned } from '../helpers/camera.ts'
import { runCommand } from '../helpers/command.ts'
import { connected, linkEnvironment, linkFor, pairedDevice, targetFor } from '../helpers/link.ts'
import { run, temporaryFolder } from '../helpers/process.ts'
import { relayFor } from '../helpers/relay.ts'
import { until } from '../helpers/waiting.ts'

async function scene(t: Test) {
  const relay = await relayFor(t)
  const target = await targetFor(t)
  const link = await linkFor(t, relay.url, { LINK_TARGET: target.url })
  await connected(link)
  const env = { LINK_OWNER_SOCKET: link.config.ownerSocket }
  return { link, env, target, relay }
}

t.test('pair prints a link, and a code that a camera reads as the same link', async (t) => {
  const { link, env } = await scene(t)
  const { code, out, err } = await runCommand(pair, ['--sub', 'zoe'], env)
  t.equal(code, 0)
  const printed = out.trimEnd().split('\n').at(-1) ?? ''
  t.ok(printed.startsWith('https://houston.hubify.com/_gateway/remote/#'))
  t.equal(scanned(out), printed)
  t.match(err, /for one device, until 2026-11-29 12:10Z; then approve/)
  const device = await pairedDevice(t, offerOfLink(printed))
  t.equal((await device.welcomed()).state, 'waiting')
  t.match(await link.devices(), [{ sub: 'zoe' }])
})

t.test('the code of a usual workspace fits a terminal of 80 columns and 30 lines', async (t) => {
  const digits = offerDigits({
    ...{ version: 1, isApproved: true, expiresAt: 2 ** 32 - 1, relay: 'wss://relay.hubify.com' },
    daemonKey: new Uint8Array(32).fill(255),
    ...{ psk: new Uint8Array(32).fill(255), place: new Uint8Array(16).fill(255) },
  })
  const code = qrCode('https://houston.hubify.com/_gateway/remote/#', digits)
  t.ok(code.version <= 7, `version ${code.version}`)
  const lines = qrText(code).trimEnd().split('\n')
  t.ok(lines.length < 30 && (lines[0] ?? '').length < 90)
  t.match(lines[0], /^\S+ +\S+$/, 'the quiet zone is there')
})

t.test('pair says when the relay is away', async (t) => {
  const target = await targetFor(t)
  const link = await linkFor(t, 'ws://127.0.0.1:1', { LINK_TARGET: target.url })
  const env = { LINK_OWNER_SOCKET: link.config.ownerSocket }
  t.match(await runCommand(pair, ['--json'], env), { code: 0, err: /no connection to its relay/ })
})

t.test('pair --json is for programs, and --approved lets the device in', async (t) => {
  const { env } = await scene(t)
  const { out, err } = await runCommand(pair, ['--json', '--approved'], env)
  const { link, expiresAt } = JSON.parse(out) as { link: string; expiresAt: string }
  t.equal(expiresAt, '2026-11-29T12:10:00.000Z')
  t.equal(err, '')
  const device = await pairedDevice(t, offerOfLink(link))
  t.equal((await device.welcomed()).state, 'approved')
})

t.test('a link without --sub is for the first of GATEWAY_OWNERS, else for "owner"', async (t) => {
  const { link, env } = await scene(t)
  const subOf = async (more: Record<string, string>) => {
    const { out } = await runCommand(pair, ['--json'], { ...env, ...more })
    await pairedDevice(t, offerOfLink((JSON.parse(out) as { link: string }).link))
    return (await link.devices()).at(-1)?.sub
  }
  t.equal(await subOf({}), 'owner')
  t.equal(await subOf({ GATEWAY_OWNERS: 'bob,zoe' }), 'bob')
})

t.test(
  'devices are listed, approved, renamed and revoked, by the beginning of their ids',
  async (t) => {
    const { link, env } = await scene(t)
    const first = await pairedDevice(t, await link.offer(), 'Phone')
    await pairedDevice(t, await link.offer({ isApproved: true }), 'Laptop')
    const { device: id } = await first.welcomed()
    const listed = await runCommand(devices, ['list'], env)
    t.match(listed.out, /^ID +STATE +NAME +KIND +SUB +CODE +PAIRED +LAST SEEN\n/)
    t.match(listed.out, new RegExp(`^${id} +waiting +Phone +page +alice +${first.code} `, 'm'))
    const json = JSON.parse((await runCommand(devices, ['list', '--json'], env)).out) as unknown
    t.match(json, [{ id }, { name: 'Laptop', state: 'approved' }])
    const short = id.slice(0, 12)
    const did = async (...args: string[]) => (await runCommand(devices, args, env)).out
    t.equal(await did('approve', short), 'Phone approved, as alice\n')
    t.equal(await did('rename', short, 'Büro'), 'Phone is now Büro\n')
    t.equal(await did('revoke', short), 'Büro revoked\n')
    t.equal(await first.ended(), 'revoked')
    t.match(await link.devices(), [{ name: 'Laptop' }])
  },
)

t.test('what a command cannot do is said, with the exit code for it', async (t) => {
  const { env, link } = await scene(t)
  const gone = { LINK_OWNER_SOCKET: '/nonexistent/owner.sock' }
  const rows: Array<[typeof devices, string[], Record<string, string>, number, RegExp]> = [
    [devices, [], env, 64, /devices takes "list"/],
    [devices, ['dance'], env, 64, /devices takes "list"/],
    [devices, ['approve'], env, 64, /approve takes an ID/],
    [devices, ['rename', 'x'], env, 64, /rename takes an ID and a NAME/],
    [devices, ['revoke', 'zzz'], env, 1, /no device has an id that begins with zzz/],
    [devices, ['list'], gone, 69, /LINK_OWNER_SOCKET .* no link runs with this socket/],
    [devices, ['list'], { LINK_OWNER_SOCKET: 'x' }, 78, /LINK_OWNER_SOCKET/],
    [pair, ['--reset'], env, 64, /--reset --yes .* forgets every device/],
    [pair, ['--yes'], env, 64, /--reset --yes/],
    [pair, ['--sub', ''], env, 1, /sub takes the name of a person/],
    [pair, [], gone, 69, /no link runs/],
  ]
  for (const [command, args, environment, code, text] of rows) {
    const result = await runCommand(command, args, environment)
    t.match(result, { code, err: text }, args.join(' '))
    t.equal(result.out, '')
  }
  t.equal((await link.status()).offers, 0)
  t.match(await runCommand(devices, ['list'], env), { code: 0, err: /no device is paired/ })
})

t.test('what answers in the place of the link is not believed', async (t) => {
  const socket = join(temporaryFolder(t), 'link-owner.sock')
  let body = ''
  let status = 200
  const server = createServer((_request, response) => {
    response.writeHead(status).end(body)
  }).listen(socket)
  await once(server, 'listening')
  t.teardown(() => server.close())
  const env = { LINK_OWNER_SOCKET: socket }
  for (const wrong of [
    ['{}', '[]', 'null', 'hello', '{"devices":5}', '{"devices":[null]}'],
    ['{"devices":[{"id":5}]}', '{"link":"javascript:1#1","expiresAt":"\\u001b[2J"}'],
  ].flat()) {
    body = wrong
    for (const [command, args] of [
      [devices, ['list', '--json']],
      [devices, ['revoke', 'A']],
      [pair, ['--json']],
      [pair, ['--reset', '--yes']],
    ] as const) {
      const { code, out, err } = await runCommand(command, args, env)
      t.match(
        { code, out, err },
        { code: 69, out: '', err: /what answers there is no link/ },
        wrong,
      )
    }
  }
  status = 400
  const { code, err } = await runCommand(pair, [], env)
  t.match({ code, err }, { code: 69, err: /what answers there is no link/ })
  body = JSON.stringify({ code: 'bad-request', detail: 'no\u001B[2J' })
  t.match(await runCommand(pair, [], env), { code: 1, err: /no\\u\{1b\}\[2J/ })
})

t.test('an id that begins two ids is not taken for one of them', async (t) => {
  const { link, env } = await scene(t)
  const first = new Set<string>()
  // Of 65 first characters some come twice: with the sixty-four of base64url, at the latest.
  let twice: string | undefined
  while (twice === undefined) {
    await pairedDevice(t, await link.offer({ isApproved: true }))
    const { id = '' } = (await link.devices()).at(-1) ?? {}
    if (first.has(id.slice(0, 1))) twice = id.slice(0, 1)
    first.add(id.slice(0, 1))
  }
  const { code, err } = await runCommand(devices, ['revoke', twice], env)
  t.match({ code, err }, { code: 1, err: /more than one id/ })
  t.equal((await link.devices()).length, [...first].length + 1)
})

t.test('pair --reset --yes makes a new key before the link', async (t) => {
  const { link, env } = await scene(t)
  const before = await link.offer()
  await pairedDevice(t, before)
  const { out } = await runCommand(pair, ['--reset', '--yes', '--json'], env)
  const offer = offerOfLink((JSON.parse(out) as { link: string }).link)
  t.notSame(offer.daemonKey, before.daemonKey)
  t.match(await link.status(), { devices: 0, offers: 1 })
})

t.test('the program links until SIGTERM, and signals for the gateway do nothing', async (t) => {
  const [relay, target, folder] = [await relayFor(t), await targetFor(t), temporaryFolder(t)]
  const env = linkEnvironment(folder, relay.url, { LINK_TARGET: target.url })
  const program = run(t, ['link'], env)
  await program.logged('linking devices')
  program.child.kill('SIGHUP')
  await program.logged('nothing to be done on SIGHUP for the link')
  const { out } = await runCommand(pair, ['--json', '--approved'], env)
  const device = await pairedDevice(t, offerOfLink((JSON.parse(out) as { link: string }).link))
  program.child.kill('SIGTERM')
  t.equal(await device.ended(), 'restart')
  t.equal(await program.exited, 0)
  t.equal(program.stderr(), '')
})

t.test(
  'the program ends with 78 for a wrong setting or file, and with 69 beside another',
  async (t) => {
    const [target, folder] = [await targetFor(t), temporaryFolder(t)]
    const env = linkEnvironment(folder, 'ws://127.0.0.1:1', { LINK_TARGET: target.url })
    const wrong = run(t, ['link'], { ...env, LINK_RELAY_URL: 'http://x' })
    t.equal(await wrong.exited, 78)
    t.match(wrong.stderr(), /LINK_RELAY_URL/)
    mkdirSync(join(folder, 'state'))
    const path = join(folder, 'state', 'daemon-keypair.json')
    writeFileSync(path, '{}')
    chmodSync(path, 0o600)
    const damaged = run(t, ['link'], env)
    t.equal(await damaged.exited, 78)
    t.match(
      damaged.stderr(),
      /daemon-keypair.json cannot be used: it is damaged.*pair every device/,
    )
    const nowhere = run(t, ['link'], {
      ...env,
      LINK_STATE_DIR: join(folder, 'other'),
      LINK_OWNER_SOCKET: join(folder, 'none', 'owner.sock'),
    })
    t.equal(await nowhere.exited, 78)
    t.match(nowhere.stderr(), /LINK_OWNER_SOCKET .* \(ENOENT\)/)
    const good = { ...env, LINK_STATE_DIR: join(folder, 'good') }
    const first = run(t, ['link'], good)
    await first.logged('linking devices')
    const second = run(t, ['link'], good)
    t.equal(await second.exited, 69)
    t.match(second.stderr(), /LINK_STATE_DIR .* is in use/)
    await until('the first goes on', async () => {
      const { code } = await runCommand(devices, ['list'], good)
      return code === 0
    })
  },
)
