/** Does doctor find what keeps devices out, what lets strangers in, and which devices want a look? */
import { once } from 'node:events'
import {
  chmodSync,
  chownSync,
  mkdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { createServer as createHttpServer } from 'node:http'
import { createServer, type Server } from 'node:net'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { VERSION } from '../../../src/answers/version.ts'
import { Examination, type Machine } from '../../../src/commands/doctor/examination.ts'
import type { Finding } from '../../../src/commands/doctor/finding.ts'
import { judgeDevices } from '../../../src/commands/doctor/link-devices.ts'
import { judgeFiles, judgeSockets } from '../../../src/commands/doctor/link-paths.ts'
import { examineLink } from '../../../src/commands/doctor/link.ts'
import { doctor } from '../../../src/commands/doctor.ts'
import { loadLinkConfig } from '../../../src/config/link-settings.ts'
import { loadConfig } from '../../../src/config/load.ts'
import { openLog } from '../../../src/observe/log.ts'
import { startLink } from '../../../src/relay/link/link.ts'
import type { DeviceView, LinkStatus } from '../../../src/relay/link/owner-protocol.ts'
import { runCommand } from '../../helpers/command.ts'
import { testSettings } from '../../helpers/gateway.ts'
import { temporaryFolder } from '../../helpers/process.ts'
import { relayFor } from '../../helpers/relay.ts'
import { until } from '../../helpers/waiting.ts'

type Settings = Record<string, string | undefined>

/** What doctor finds. An answer may take long on a busy machine, unless the test has one that never comes. */
async function look(
  t: Test,
  settings: Settings,
  { patience = 20, ...machine }: Partial<Machine> & { patience?: number } = {},
): Promise<Finding[]> {
  const config = loadConfig(testSettings({ GATEWAY_STATE_DIR: temporaryFolder(t), ...settings }))
  const known = { linkOwnerSocket: join(temporaryFolder(t), 'none.sock'), ...machine }
  return examineLink(new Examination(config, [], { patience, machine: known }))
}

const of = (findings: readonly Finding[], check: string) =>
  findings.filter((finding) => finding.check === check)

const STATUS: LinkStatus = {
  ...{ version: VERSION, relay: 'wss://relay.example.com', isConnected: true, problem: null },
  ...{ since: '2026-11-29T09:00:00.000Z', target: 'gateway', devices: 0, offers: 0 },
}

const DEVICE: DeviceView = {
  ...{ id: 'AAAAAAAAAAAAAAAAAAAAAA', name: 'Phone', kind: 'page', state: 'approved', sub: 'alice' },
  ...{ code: null, pairedAt: new Date().toISOString(), lastSeenAt: null, isConnected: false },
}

/** A socket that answers as a link does, or as a test says. */
async function startDoor(t: Test, server: Server): Promise<string> {
  const socket = join(temporaryFolder(t), 'owner.sock')
  server.listen(socket)
  await once(server, 'listening')
  chmodSync(socket, 0o600)
  t.teardown(() => server.close())
  return socket
}

const answering = (status: unknown, devices: unknown = { devices: [] }, code = 200) =>
  createHttpServer((request, response) => {
    const body = request.url === '/v1/status' ? status : devices
    response.writeHead(code).end(typeof body === 'string' ? body : JSON.stringify(body))
  })

/** The socket of a gateway, which takes nothing that the link says. */
async function startGatewaySocket(t: Test): Promise<string> {
  return startDoor(
    t,
    createServer((socket) => socket.destroy()),
  )
}

t.test('without a link nothing is asked, and one at the usual place is named', async (t) => {
  t.same(await look(t, {}), [])
  const socket = await startDoor(t, answering(STATUS))
  t.match(await look(t, {}, { linkOwnerSocket: socket }), [
    {
      ...{ check: 'link-answers', verdict: 'warn', detail: /the gateway does not know of it/ },
      remedy: `set GATEWAY_LINK_OWNER_SOCKET=${socket}, and restart the gateway`,
    },
  ])
  const open = await startGatewaySocket(t)
  const findings = await look(t, { GATEWAY_LINK_SOCKET: open })
  t.match(of(findings, 'link-answers'), [
    {
      verdict: 'warn',
      detail: `devices come in at ${open}`,
      remedy: /set GATEWAY_LINK_OWNER_SOCKET/,
    },
  ])
  t.match(of(findings, 'link-sockets-private'), [{ verdict: 'pass' }])
})

t.test('a link that runs and has its relay passes every question', async (t) => {
  const relay = await relayFor(t)
  const folder = temporaryFolder(t)
  const gateway = await startGatewaySocket(t)
  const config = loadLinkConfig({
    ...{ LINK_RELAY_URL: relay.url, LINK_STATE_DIR: join(folder, 'kept') },
    ...{ LINK_OWNER_SOCKET: join(folder, 'owner.sock'), LINK_LOG_LEVEL: 'silent' },
    ...{ GATEWAY_WORKSPACE: 'houston', GATEWAY_LINK_SOCKET: gateway },
  })
  const { logger } = openLog('silent')
  const link = await startLink(config, { logger })
  t.teardown(() => link.close())
  const settings = {
    GATEWAY_LINK_OWNER_SOCKET: config.ownerSocket,
    GATEWAY_LINK_SOCKET: gateway,
    GATEWAY_OWNERS: 'alice',
  }
  const findings = await until('the link has its relay', async () => {
    const found = await look(t, settings, { linkFolders: [config.stateDir] })
    return found.every(({ verdict }) => verdict !== 'fail') ? found : undefined
  })
  t.same(
    findings.map(({ check, verdict }) => [check, verdict]),
    [
      ...[
        ['link-answers', 'pass'],
        ['link-relay', 'pass'],
        ['link-target', 'pass'],
      ],
      ...[
        ['link-waiting', 'pass'],
        ['link-devices-used', 'pass'],
        ['link-owners', 'skip'],
      ],
      ...[
        ['link-sockets-private', 'pass'],
        ['link-files-private', 'pass'],
      ],
    ],
  )
  t.match(of(findings, 'link-relay'), [{ detail: /^connected to ws:.* since 20\d\d-\d\d-/ }])
  const page = readFileSync('docs/relay.md', 'utf8')
  const explained = [...page.matchAll(/^\| `(link-[a-z-]+)` \|/gm)].map(([, name]) => name)
  t.same(
    explained,
    findings.map(({ check }) => check),
    'the page explains each',
  )
})

t.test('a link that is not there, and what is none, fail', async (t) => {
  const skipped = ['link-relay', 'link-target', 'link-waiting', 'link-devices-used', 'link-owners']
  const none = join(temporaryFolder(t), 'none.sock')
  const silent = await startDoor(t, createServer())
  for (const [socket, detail, patience] of [
    [none, /does not exist: no link runs there/, 20],
    [await startDoor(t, answering({ ...STATUS, since: 'soon' })), /is no link/, 20],
    [await startDoor(t, answering({ ...STATUS, isConnected: 'yes' })), /is no link/, 20],
    [await startDoor(t, answering('<html>')), /is no link/, 20],
    [await startDoor(t, answering(STATUS, {}, 503)), /is no link/, 20],
    [silent, /no answer within 2 s/, 0.05],
  ] as const) {
    const findings = await look(t, { GATEWAY_LINK_OWNER_SOCKET: socket }, { patience })
    t.match(of(findings, 'link-answers'), [{ verdict: 'fail', detail, remedy: /./ }], socket)
    for (const check of skipped) t.match(of(findings, check), [{ verdict: 'skip' }], check)
  }
  const list = await startDoor(t, answering(STATUS, { devices: [{ ...DEVICE, name: 7 }] }))
  const findings = await look(t, { GATEWAY_LINK_OWNER_SOCKET: list })
  t.match(of(findings, 'link-waiting'), [{ verdict: 'skip', detail: /does not list/ }])
})

t.test('a link of another release is named, with what a restart of it costs', async (t) => {
  const socket = await startDoor(t, answering({ ...STATUS, version: '0.0.1' }))
  const findings = await look(t, { GATEWAY_LINK_OWNER_SOCKET: socket })
  t.match(of(findings, 'link-answers'), [
    { verdict: 'warn', detail: /is 0\.0\.1/, remedy: /devices come back by themselves/ },
  ])
})

t.test('a relay that is away fails, since when, and with the address to ask', async (t) => {
  for (const [since, detail] of [
    [
      '2026-11-29T09:00:00.000Z',
      /relay\.example\.com \(LINK_RELAY_URL\), and is not since 2026-11-29T09:00.*; it has gone/,
    ],
    [null, /has never been since it started/],
  ] as const) {
    const socket = await startDoor(
      t,
      answering({ ...STATUS, isConnected: false, since, problem: 'it has gone' }),
    )
    const findings = await look(t, { GATEWAY_LINK_OWNER_SOCKET: socket })
    t.match(of(findings, 'link-relay'), [
      { verdict: 'fail', detail, remedy: /curl https:\/\/relay\.example\.com\/healthz/ },
    ])
  }
})

t.test('a target that the gateway does not listen for fails', async (t) => {
  const gateway = await startGatewaySocket(t)
  const toGateway = await startDoor(t, answering(STATUS))
  const toService = await startDoor(t, answering({ ...STATUS, target: 'service' }))
  const verdict = async (owner: string, socket?: string) =>
    of(
      await look(t, { GATEWAY_LINK_OWNER_SOCKET: owner, GATEWAY_LINK_SOCKET: socket }),
      'link-target',
    )
  t.match(await verdict(toGateway), [
    { verdict: 'fail', detail: /GATEWAY_LINK_SOCKET is not set here/, remedy: /restart it/ },
  ])
  t.match(await verdict(toService, gateway), [
    { verdict: 'warn', detail: /another service \(LINK_TARGET\), and nobody comes/ },
  ])
  t.match(await verdict(toService), [{ verdict: 'pass', detail: /another service/ }])
  t.match(await verdict(toGateway, gateway), [{ verdict: 'pass', detail: gateway }])
})

t.test('devices that wait are named with the code that they show', async (t) => {
  const socket = await startDoor(
    t,
    answering(STATUS, { devices: [{ ...DEVICE, state: 'waiting', code: '123456' }] }),
  )
  const findings = await look(t, { GATEWAY_LINK_OWNER_SOCKET: socket, GATEWAY_OWNERS: 'alice' })
  t.match(of(findings, 'link-waiting'), [
    {
      ...{
        verdict: 'warn',
        detail: `1 waits for approval: Phone (${DEVICE.id}), which shows 123456`,
      },
      remedy: /devices approve ID.*devices revoke ID/,
    },
  ])
  t.match(of(findings, 'link-owners'), [{ verdict: 'skip' }])
})

t.test('devices that nobody has used for 90 days are named, and nobody is the owner', async (t) => {
  const now = Date.parse('2026-11-29T00:00:00Z')
  const days = (count: number) => new Date(now - count * 86_400_000).toISOString()
  const device = (name: string, more: Partial<DeviceView>) => ({ ...DEVICE, name, ...more })
  const devices = [
    device('Used', { pairedAt: days(200), lastSeenAt: days(89) }),
    device('Old', { pairedAt: days(200), lastSeenAt: days(90) }),
    device('Never', { pairedAt: days(91), lastSeenAt: null }),
    device('New', { pairedAt: days(1), lastSeenAt: null }),
    device('Open', { pairedAt: days(300), lastSeenAt: days(100), isConnected: true }),
    device('Waits', { pairedAt: days(91), state: 'waiting' }),
  ]
  const findings = judgeDevices(devices, { owners: [] }, now)
  t.match(of(findings, 'link-devices-used'), [
    {
      ...{ verdict: 'warn', remedy: /devices revoke ID/ },
      detail: `not seen for 90 days: Old (${DEVICE.id}), Never (${DEVICE.id})`,
    },
  ])
  t.match(of(findings, 'link-owners'), [
    { verdict: 'fail', detail: /not set while 5 devices are approved/, remedy: /GATEWAY_OWNERS/ },
  ])
  const [sound] = of(
    judgeDevices(devices.slice(3, 5), { owners: ['alice'] }, now),
    'link-devices-used',
  )
  t.match(sound, { verdict: 'pass', detail: '2 approved, 1 of them connected' })
  const many = Array.from({ length: 7 }, () => device('Old', { lastSeenAt: days(91) }))
  t.match(of(judgeDevices(many, { owners: ['alice'] }, now), 'link-devices-used'), [
    { detail: /and 2 more$/ },
  ])
})

t.test('sockets that others can open fail, and say what that allows', async (t) => {
  const owner = await startDoor(t, answering(STATUS))
  const gateway = await startGatewaySocket(t)
  const stateDir = temporaryFolder(t)
  const judge = () => judgeSockets({ owner, gateway }, stateDir)
  t.match(judge(), [{ verdict: 'pass' }])
  chmodSync(owner, 0o660)
  t.match(judge(), [{ verdict: 'fail', detail: /mode 660.*let devices in/, remedy: /chmod 600/ }])
  chmodSync(owner, 0o600)
  chmodSync(gateway, 0o602)
  t.match(judge(), [{ verdict: 'fail', detail: /mode 602.*speak for any device/ }])
  const missing = judgeSockets({ owner, gateway: `${gateway}.none` }, stateDir)
  t.match(missing, [{ verdict: 'fail', detail: /no device reaches the gateway/ }])
  t.match(judgeSockets({ owner: `${owner}.none`, gateway: undefined }, stateDir), [
    { verdict: 'skip' },
  ])
})

/** A folder of a link, as the link makes it. */
function keptIn(t: Test): string {
  const folder = join(temporaryFolder(t), 'link')
  mkdirSync(folder, { mode: 0o700 })
  for (const name of ['daemon-keypair.json', 'devices.json'])
    writeFileSync(join(folder, name), '{}', { mode: 0o600 })
  return folder
}

const OWN = process.getuid?.()

t.test('files that others can read or exchange fail, each with what is lost by it', async (t) => {
  const folder = keptIn(t)
  const [key, list] = ['daemon-keypair.json', 'devices.json'].map((name) => join(folder, name))
  if (key === undefined || list === undefined) throw new Error('two files')
  const judge = () => judgeFiles([join(folder, 'elsewhere'), folder], OWN)
  t.match(judge(), [{ check: 'link-files-private', verdict: 'pass', detail: folder }])
  for (const [path, mode, good, detail, remedy] of [
    [key, 0o640, 0o600, /keypair\.json is open to others \(mode 640\)/, /pair --reset --yes/],
    [list, 0o604, 0o600, /devices\.json is open to others \(mode 604\)/, /revoke and pair/],
    [folder, 0o770, 0o700, /who can exchange the daemon's key/, /devices list/],
  ] as const) {
    chmodSync(path, mode)
    t.match(judge(), [{ verdict: 'fail', detail, remedy }])
    chmodSync(path, good)
  }
  chmodSync(folder, 0o755)
  t.match(judge(), [{ verdict: 'warn', detail: /mode 755/, remedy: `chmod 700 ${folder}` }])
  chmodSync(folder, 0o700)
  for (const { verdict, detail } of judgeFiles([folder], (OWN ?? 0) + 1))
    t.match([verdict, detail], ['fail', /belongs to .*, and the link is/])
  rmSync(list)
  t.match(judge(), [{ verdict: 'pass' }], 'the list comes with the first device')
  symlinkSync('/etc/passwd', list)
  t.match(judge(), [{ verdict: 'fail', detail: /is no file of its own/ }])
  t.match(judgeFiles(['/nowhere', '/at-all'], OWN), [
    { verdict: 'skip', detail: /none in \/nowhere or \/at-all; run this as the link's user/ },
  ])
})

t.test('the folder is the one that the environment names, else the usual one', async (t) => {
  const socket = await startDoor(t, answering(STATUS))
  const stateDir = temporaryFolder(t)
  const settings = { GATEWAY_LINK_OWNER_SOCKET: socket, GATEWAY_STATE_DIR: stateDir }
  t.match(of(await look(t, settings), 'link-files-private'), [{ verdict: 'skip' }])
  const folder = join(stateDir, 'link')
  mkdirSync(folder, { mode: 0o700 })
  writeFileSync(join(folder, 'daemon-keypair.json'), '{}', { mode: 0o600 })
  t.match(of(await look(t, settings), 'link-files-private'), [{ verdict: 'pass', detail: folder }])
  const named = keptIn(t)
  const env = testSettings({ ...settings, LINK_STATE_DIR: named })
  const { out } = await runCommand((args, all, io) => doctor(args, all, io), ['--json'], env)
  const { findings } = JSON.parse(out) as { findings: Finding[] }
  t.match(of(findings, 'link-files-private'), [{ verdict: 'pass', detail: named }])
})

t.test(
  'a link of another user than the gateway’s fails',
  { skip: OWN === 0 ? false : 'root alone can give files away' },
  async (t) => {
    const [owner, stateDir] = [await startDoor(t, answering(STATUS)), temporaryFolder(t)]
    chownSync(owner, 2, 2)
    t.match(judgeSockets({ owner, gateway: undefined }, stateDir), [
      { verdict: 'fail', detail: /neither can open the socket of the other/, remedy: /chown/ },
    ])
    chownSync(stateDir, 2, 2)
    t.match(judgeSockets({ owner, gateway: undefined }, stateDir), [{ verdict: 'pass' }])
    const folder = keptIn(t)
    for (const name of ['daemon-keypair.json', 'devices.json']) chownSync(join(folder, name), 2, 2)
    t.match(judgeFiles([folder], 2), [{ verdict: 'pass' }], 'what is root’s is in nobody’s hands')
    chownSync(folder, 3, 3)
    t.match(judgeFiles([folder], 2), [{ verdict: 'fail', detail: /does not start again/ }])
  },
)
