/** Keep-alive connections that have asked once and now only stay. */
import { connect, type Socket } from 'node:net'
import type { Target } from '../peers/peer.ts'
import { visitorHeaders } from '../workspace.ts'

/** How many are opened at a time. */
const AT_ONCE = 20

/** Opens so many. @returns closes them */
export async function holdIdle(target: Target, count: number): Promise<() => void> {
  const open: Socket[] = []
  while (open.length < count)
    open.push(...(await Promise.all(Array.from({ length: AT_ONCE }, () => askOnce(target)))))
  return () => {
    for (const socket of open) socket.destroy()
  }
}

function askOnce({ port, path }: Target): Promise<Socket> {
  const lines = Object.entries(visitorHeaders()).map(([name, value]) => `${name}: ${value}\r\n`)
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: '127.0.0.1' })
    socket.once('data', () => resolve(socket))
    socket.on('error', reject)
    socket.write(`GET ${path} HTTP/1.1\r\n${lines.join('')}\r\n`)
  })
}
