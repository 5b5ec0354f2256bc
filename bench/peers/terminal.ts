/** What does the keeper of terminals cost? Two peers: a gateway in front of ttyd, and one with the keeper between the two. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { freePort, pause, start, stop } from '../child.ts'
import { inspectable } from '../used-memory.ts'
import { AMPLE, gatewayProgram, startGateway } from './gateway.ts'
import type { Peer, PeerKind, Surroundings } from './peer.ts'

/** A gateway that speaks to ttyd. */
export const ttyd: PeerKind = {
  name: 'ttyd',
  needs: 'ttyd',
  async start(surroundings) {
    const shells = await startTtyd()
    const gateway = await startTerminalGateway(surroundings, shells.url)
    return { ...gateway, name: 'ttyd', stop: () => stopBoth(gateway, shells) }
  },
}

/** A gateway that speaks to the keeper, which speaks to ttyd. */
export const kept: PeerKind = {
  name: 'kept',
  needs: 'ttyd',
  async start(surroundings) {
    const shells = await startTtyd()
    const path = join(surroundings.folder, 'terminals.sock')
    const inspectPort = await freePort()
    const keeper = await startKeeper(path, shells.url, inspectPort, surroundings)
    const pid = keeper.pid ?? 0
    const gateway = await startTerminalGateway(surroundings, `unix:${path}`)
    return {
      ...gateway,
      name: 'kept',
      processes: [...gateway.processes, pid],
      keeper: { pid, inspectPort },
      async stop() {
        await stopBoth(gateway, shells)
        await stop(keeper)
      },
    }
  },
}

/** A shell without a prompt, so that a terminal that is not used prints nothing. */
const SHELL = ['env', 'PS1=', 'sh']

/** Each round opens terminals, more often than a person does in a minute. */
function startTerminalGateway(surroundings: Surroundings, url: string): Promise<Peer> {
  return startGateway(surroundings, { GATEWAY_TERMINAL_URL: url, GATEWAY_RATE_LIMIT: AMPLE })
}

interface Shells {
  readonly url: string
  stop(): Promise<void>
}

async function startTtyd(): Promise<Shells> {
  const port = await freePort()
  const address = ['--debug', '0', '--interface', '127.0.0.1', '--port', String(port)]
  const program = ['ttyd', ...address, '--base-path', '/terminal', '--writable', ...SHELL]
  const child = start(program, { side: 'load' })
  return { url: `http://127.0.0.1:${port}`, stop: () => stop(child) }
}

async function startKeeper(
  path: string,
  url: string,
  inspectPort: number,
  { side, folder }: Surroundings,
) {
  const child = start(
    [process.execPath, ...inspectable(inspectPort), gatewayProgram(), 'terminals'],
    {
      side,
      output: join(folder, 'keeper.log'),
      env: {
        TERMINALS_SOCKET: path,
        TERMINALS_TTYD_URL: url,
      },
    },
  )
  while (!existsSync(path) && child.exitCode === null) await pause(10)
  return child
}

async function stopBoth(gateway: Peer, shells: Shells): Promise<void> {
  await gateway.stop()
  await shells.stop()
}
