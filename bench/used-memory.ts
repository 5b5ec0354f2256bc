/** How much memory does a process of Node use, without what it would free if it were short of memory? Its inspector tells. */
import { once } from 'node:events'
import { WebSocket, type RawData } from 'ws'
import { pause } from './child.ts'

/** A process of Node whose inspector can be asked. */
export interface Inspected {
  readonly pid: number
  /** The port for its inspector, which does not listen before it is needed. */
  readonly inspectPort: number
}

/** The options of Node by which a process becomes {@link Inspected}. Not in NODE_OPTIONS, with which the vault does not start. */
export function inspectable(inspectPort: number): string[] {
  return [`--inspect-port=${inspectPort}`, '--inspect-publish-uid=http']
}

const USED = 'process.memoryUsage().heapUsed + process.memoryUsage().external'

/** What the objects and buffers that a process uses take, in bytes. Memory that it keeps for later ones does not count. */
export async function usedBytes(inspected: Inspected): Promise<number> {
  const inspector = await Inspector.open(inspected)
  try {
    return await inspector.usedBytes()
  } finally {
    inspector.close()
  }
}

/** A connection with the inspector of a process, for more than one question: the process says on its standard error that it was opened. */
export class Inspector {
  readonly #socket: WebSocket

  private constructor(socket: WebSocket) {
    this.#socket = socket
  }

  static async open({ pid, inspectPort }: Inspected): Promise<Inspector> {
    process.kill(pid, 'SIGUSR1') // lets it listen
    const socket = new WebSocket(await inspectorOf(inspectPort))
    await once(socket, 'open')
    return new Inspector(socket)
  }

  /** As {@link usedBytes}. */
  async usedBytes(): Promise<number> {
    await call(this.#socket, 'HeapProfiler.collectGarbage')
    const { result } = await call(this.#socket, 'Runtime.evaluate', { expression: USED })
    return Number(result?.value)
  }

  close(): void {
    this.#socket.terminate()
  }
}

interface Result {
  readonly result?: { readonly value?: number }
}

/** @throws {Error} when the process ends before it answers */
async function call(socket: WebSocket, method: string, params: object = {}): Promise<Result> {
  const { promise, resolve, reject } = Promise.withResolvers<RawData>()
  const end = () => reject(new Error('a process that is measured has ended'))
  socket.once('message', resolve).once('close', end)
  try {
    if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ id: 1, method, params }))
    else end()
    const data = await promise
    return (JSON.parse((data as Buffer).toString()) as { result: Result }).result
  } finally {
    socket.off('message', resolve).off('close', end)
  }
}

async function inspectorOf(port: number): Promise<string> {
  for (;;)
    try {
      const answer = await fetch(`http://127.0.0.1:${port}/json/list`)
      const [target] = (await answer.json()) as { webSocketDebuggerUrl: string }[]
      return target?.webSocketDebuggerUrl ?? ''
    } catch {
      await pause(20) // it does not listen yet
    }
}
