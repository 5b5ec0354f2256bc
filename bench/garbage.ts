/** How much memory does a process really use? Node frees what it no longer uses at some time, or when its inspector tells it to. */
import { once } from 'node:events'
import { WebSocket } from 'ws'
import { pause } from './child.ts'

/** A process of Node that can be told to collect its garbage. */
export interface Inspected {
  readonly pid: number
  /** The port for its inspector, which does not listen before it is needed. */
  readonly inspectPort: number
}

/** The NODE_OPTIONS by which a process becomes {@link Inspected}. */
export function inspectable(inspectPort: number): string {
  return `--inspect-port=${inspectPort} --inspect-publish-uid=http`
}

/** Makes a process free the memory that it no longer uses. */
export async function collectGarbage({ pid, inspectPort }: Inspected): Promise<void> {
  process.kill(pid, 'SIGUSR1') // opens the inspector
  const socket = new WebSocket(await inspectorOf(inspectPort))
  await once(socket, 'open')
  const answered = once(socket, 'message')
  socket.send(JSON.stringify({ id: 1, method: 'HeapProfiler.collectGarbage' }))
  await answered
  socket.terminate()
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
