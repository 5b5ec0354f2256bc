/** Does the program listen on a socket of its supervisor, so that no connection is refused during a restart? */
import { spawn, type ChildProcessByStdio } from 'node:child_process'
import { once } from 'node:events'
import { createServer, type AddressInfo, type Server } from 'node:net'
import type { Readable } from 'node:stream'
import t from 'tap'
import { testSettings } from '../helpers/gateway.ts'
import { startLoad } from '../helpers/load.ts'
import { MAIN, temporaryFolder, watch } from '../helpers/process.ts'
import { eventually } from '../helpers/waiting.ts'
import { send } from '../helpers/wire.ts'

/** A supervisor like systemd: it holds the socket, never accepts on it, and restarts a program that ends. */
const SUPERVISOR = `while :; do
  bash -c 'export LISTEN_PID=$$ LISTEN_FDS=1; exec "$@"' bash "$@" || exit
done`

/** The descriptor of a server, which Node has no public way to read and which `spawn` needs. */
function descriptorOf(server: Server): number {
  const handle: unknown = Reflect.get(server, '_handle')
  return Number(Reflect.get(handle as object, 'fd'))
}

t.test('connections that come during a restart wait for the next start', async (t) => {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const env = {
    ...testSettings({ GATEWAY_STATE_DIR: temporaryFolder(t), GATEWAY_PORT: '1' }),
    PATH: process.env['PATH'],
  }
  const child = spawn('bash', ['-c', SUPERVISOR, 'bash', process.execPath, MAIN, 'serve'], {
    env,
    detached: true, // a process group of its own, so that one signal ends all of it
    stdio: ['ignore', 'pipe', 'pipe', descriptorOf(server)],
  }) as ChildProcessByStdio<null, Readable, Readable>
  const supervisor = watch(t, child)
  t.teardown(() => process.kill(-supervisor.pid, 'SIGKILL'))
  server.close()
  const starts = () => supervisor.logLines().filter(({ msg }) => msg === 'listening')
  await eventually(() => starts().length === 1, 'the first start', 60_000)
  t.match(starts()[0], { port }, 'whatever GATEWAY_PORT says')
  t.equal((await send(port, 'GET /')).status, 401)
  const endLoad = startLoad({
    options: { host: '127.0.0.1', port, path: '/_gateway/live', headers: { Host: 'localhost' } },
    fresh: 2,
    kept: 0,
  })
  for (let round = 1; round <= 2; round++) {
    process.kill(Number(starts().at(-1)?.['pid']), 'SIGTERM')
    await eventually(() => starts().length === round + 1, 'the next start', 60_000)
  }
  const tally = await endLoad()
  t.same(tally.failures, {})
})
