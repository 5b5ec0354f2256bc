/** What can other programs on the machine reach? Only the configured port; the gateway's socket and files are its user's. */
import { readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { run, temporaryFolder } from '../helpers/process.ts'
import { testSettings } from '../helpers/gateway.ts'

/** The TCP ports on which a process listens, from the kernel's tables. */
function listeningPorts(pid: number): number[] {
  const inodes = new Set(
    readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
      try {
        return /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/${pid}/fd/${fd}`))?.[1] ?? []
      } catch {
        return [] // closed in the meantime
      }
    }),
  )
  return ['tcp', 'tcp6', 'udp', 'udp6'].flatMap((table) =>
    readFileSync(`/proc/${pid}/net/${table}`, 'utf8')
      .split('\n')
      .slice(1)
      .map((line) => line.trim().split(/\s+/))
      .filter(
        ([, , , state, , , , , , inode = '']) =>
          (state === '0A' || state === '07') && inodes.has(inode),
      )
      .map(([, local = '']) => Number.parseInt(local.split(':')[1] ?? '', 16)),
  )
}

t.test(
  'the gateway listens only where it is configured, and only its user can read its files',
  async (t) => {
    const folder = temporaryFolder(t)
    const [socket, stateDir] = [join(folder, 'gateway.sock'), join(folder, 'state')]
    const settings = testSettings({
      GATEWAY_SOCKET: socket,
      GATEWAY_HOST: undefined,
      GATEWAY_PORT: undefined,
      GATEWAY_STATE_DIR: stateDir,
    })
    const onSocket = run(t, ['serve'], settings)
    await onSocket.logged('listening')
    t.same(listeningPorts(onSocket.pid), [], 'no TCP port beside the socket')
    t.equal(statSync(socket).mode & 0o777, 0o600)
    t.equal(statSync(stateDir).mode & 0o777, 0o700)
    onSocket.child.kill('SIGTERM')
    t.equal(await onSocket.exited, 0)
    for (const name of readdirSync(stateDir))
      t.equal(statSync(join(stateDir, name)).mode & 0o077, 0, name)

    const onPort = run(t, ['serve'], testSettings({ GATEWAY_STATE_DIR: stateDir }))
    const { port } = await onPort.logged('listening')
    t.same(listeningPorts(onPort.pid), [port], 'one port, no administration')
  },
)
