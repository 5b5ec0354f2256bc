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
export async function usedBytes({ pid, inspectPort }: Inspected): Promise<number> {
  process.kill(pid, 'SIGUSR1') // opens the inspector
  const socket = new WebSocket(await inspectorOf(inspectPort))
  try {
    await once(socket, 'open')
    await call(socket, 'HeapProfiler.collectGarbage')
    const { result } = await call(socket, 'Runtime.evaluate', { expression: USED })
    return Number(result?.value)
  } finally {
    socket.terminate()
  }
}

interface Result {
  readonly result?: { readonly value?: number }
}

async function call(socket: WebSocket, method: string, params: object = {}): Promise<Result> {
  const answered = once(socket, 'message')
  socket.send(JSON.stringify({ id: 1, method, params }))
  const [data] = (await answered) as [RawData]
  return (JSON.parse((data as Buffer).toString()) as { result: Result }).result
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
