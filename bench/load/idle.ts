/** What do idle connections cost? This file opens keep-alive connections that send one request and then stay idle. */
import { connect, type Socket } from 'node:net'
import type { Target } from '../peers/peer.ts'
import { visitorHeaders } from '../workspace.ts'

/** The number that is opened at a time. */
const AT_ONCE = 20

/** Opens a number of connections. @returns a function that closes them */
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
