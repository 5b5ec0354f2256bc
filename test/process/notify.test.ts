/** Is the supervisor notified when the gateway is ready, and is a wrong descriptor harmless? */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, existsSync, fstatSync, openSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import t from 'tap'
import { askAdmin } from '../../src/admin/ask.ts'
import { notifyReady, notifyStopping } from '../../src/process/notify.ts'
import { token } from '../helpers/gateway.ts'
import { recordingLogger } from '../helpers/operations.ts'
import { serve, temporaryFolder } from '../helpers/process.ts'
import { startRawUpstream } from '../helpers/upstream.ts'
import { eventually } from '../helpers/waiting.ts'
import { open, requestBytes } from '../helpers/wire.ts'

const MODULE = new URL('../../src/process/notify.ts', import.meta.url).href

/** A program that notifies on descriptor 3 and then prints what was logged, and whether it still handles signals. */
const PROGRAM = `
  const { notifyReady } = await import(${JSON.stringify(MODULE)})
  const say = (level) => (fields, message) =>
    process.stderr.write(level + ' ' + message + ' ' + (fields.err?.message ?? '') + '\\n')
  const logger = { info: say('info'), warn: say('warn') }
  process.on('SIGUSR2', () => { process.stderr.write('heard\\n'); process.exit(0) })
  await notifyReady({ fd: Number(process.env.FD), socket: undefined, logger })
  setInterval(() => {}, 1000)
  process.kill(process.pid, 'SIGUSR2')
`

/** Runs the program in a shell, which can make pipes as s6 does. */
async function underShell(shellLine: string, fd: number) {
  const env = { FD: String(fd), PROGRAM, NODE: process.execPath }
  const child = spawn('/bin/sh', ['-c', shellLine], { env, stdio: ['ignore', 'pipe', 'pipe'] })
  const [out, err] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    once(child, 'close'),
  ])
  return { out, err }
}

const START = '"$NODE" --input-type=module -e "$PROGRAM"'

t.test('s6 gets a line feed, and then the end of the pipe', async (t) => {
  // `cat` ends at the end of the pipe, long before the program ends.
  const { out, err } = await underShell(`${START} 3>&1 >/dev/null | cat`, 3)
  t.equal(out, '\n')
  t.match(err, /^info readiness notified/)
  t.match(err, /heard/)
})

t.test('a descriptor that is not a pipe of a supervisor is logged, and not touched', async (t) => {
  const nodesOwn = [3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 19, 20]
  await Promise.all(
    nodesOwn.map(async (fd) => {
      const { err } = await underShell(START, fd)
      t.match(err, /^warn readiness not notified/, `descriptor ${fd}`)
      t.match(err, /heard/, 'the process lives, and hears signals')
    }),
  )
  const { logger, lines } = recordingLogger()
  const path = join(temporaryFolder(t), 'file')
  writeFileSync(path, '')
  const fd = openSync(path, 'r+')
  await notifyReady({ fd, socket: undefined, logger })
  t.ok(fstatSync(fd).isFile(), 'still open')
  closeSync(fd)
  await notifyReady({ fd: 1000, socket: undefined, logger })
  t.match(lines(), [
    {
      level: 'warn',
      setting: 'GATEWAY_NOTIFY_FD',
      err: { message: 'it is no pipe of a supervisor' },
    },
    { level: 'warn', err: { code: 'EBADF' } },
  ])
})

t.test('a pipe without a reader is logged and does no harm', async (t) => {
  const { err } = await underShell(
    `{ trap '' PIPE; while printf x 2>/dev/null; do :; done; ${START} 3>&1 >/dev/null; } | true`,
    3,
  )
  t.match(err, /^warn readiness not notified.*EPIPE/)
  t.match(err, /heard/)
})

const tools = ['/usr/bin/systemd-notify', '/usr/bin/python3']
const missing = tools.filter((tool) => !existsSync(tool))

t.test(
  'systemd is notified that the gateway is ready, and that it is stopping',
  { skip: missing.length > 0 && `needs ${missing.join(', ')}` },
  async (t) => {
    const path = join(temporaryFolder(t), 'notify.sock')
    // Node has no Unix datagram sockets, so Python receives the notifications.
    const receiver = `
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1])
print('bound', flush=True)
while True:
    data, fds, _, _ = socket.recv_fds(s, 4096, 4)
    for fd in fds: socket.close(fd)
    print(data.decode().replace('\\n', ' '), flush=True)
`
    const child = spawn('/usr/bin/python3', ['-c', receiver, path], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    t.teardown(async () => {
      child.kill('SIGKILL')
      await once(child, 'close')
    })
    let heard = ''
    child.stdout.on('data', (chunk: Buffer) => (heard += chunk.toString()))
    const said = async (words: string) => {
      while (!heard.includes(words)) await once(child.stdout, 'data')
      t.pass(words)
    }
    await said('bound')
    const { logger, lines } = recordingLogger()
    const supervisor = { fd: undefined, socket: path, logger }
    await Promise.all([notifyReady(supervisor), said('READY=1')])
    t.match(heard, `MAINPID=${process.pid}`)
    await Promise.all([notifyStopping(supervisor), said('STOPPING=1')])
    t.match(lines(), [
      { msg: 'supervisor notified', state: 'READY=1' },
      { msg: 'supervisor notified', state: 'STOPPING=1' },
    ])
  },
)

t.test('a supervisor that cannot be notified is logged', async (t) => {
  const { logger, lines } = recordingLogger()
  const socket = join(temporaryFolder(t), 'missing.sock')
  await notifyReady({ fd: undefined, socket, logger })
  await notifyStopping({ fd: undefined, socket, logger })
  t.match(lines(), [
    { level: 'warn', msg: 'supervisor not notified', state: 'READY=1' },
    { level: 'warn', msg: 'supervisor not notified', state: 'STOPPING=1' },
  ])
})

t.test('the gateway runs on when its supervisor cannot be notified', async (t) => {
  const service = await startRawUpstream(t, () => {})
  const gateway = await serve(t, {
    NOTIFY_SOCKET: join(temporaryFolder(t), 'missing.sock'),
    GATEWAY_DASHBOARD_URL: service.url,
    GATEWAY_DRAIN_SECONDS: '600',
  })
  const told = () =>
    gateway
      .logLines()
      .filter(({ msg }) => msg === 'supervisor not notified')
      .map(({ state }) => state)
  await eventually(() => told().length === 1, 'word of readiness')
  const socket = await open(gateway.port)
  socket.write(requestBytes('GET /', [`Authorization: Bearer ${await token()}`]))
  await eventually(() => service.dials() === 1, 'in flight')
  gateway.child.kill('SIGTERM')
  await eventually(() => told().length === 2, 'word of the end')
  t.same(told(), ['READY=1', 'STOPPING=1'])
  const { status } = await askAdmin(gateway.stateDir, '/status')
  t.equal(status, 200, 'the admin door is open while the gateway drains')
})

t.test('nothing is done without a supervisor', async (t) => {
  const { logger, lines } = recordingLogger()
  await notifyReady({ fd: undefined, socket: undefined, logger })
  await notifyStopping({ fd: 3, socket: undefined, logger })
  t.same(lines(), [])
})
