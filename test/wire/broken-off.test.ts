/** When a large body breaks off, is every byte that arrived correct, and are all buffers and connections released? */
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import t from 'tap'
import { startBefore } from '../helpers/gateway.ts'
import { temporaryFolder } from '../helpers/process.ts'
import { startRawUpstream } from '../helpers/upstream.ts'
import { eventually, later, openFiles, watchForCrashes } from '../helpers/waiting.ts'
import { requestBytes } from '../helpers/wire.ts'

const LENGTH = 3_000_000

/** Builds a body in which each position contains its offset and the number of its response. */
function bodyOf(seed: number): Buffer {
  const body = Buffer.alloc(LENGTH)
  for (let at = 0; at + 8 <= LENGTH; at += 8) {
    body.writeUInt32LE(at, at)
    body.writeUInt32LE(seed, at + 4)
  }
  return body
}

/** How a service ends a response. */
const SERVICE_ENDS = ['whole', 'ended early', 'reset', 'whole, and more'] as const
/** How a client reads a response. */
const CLIENT_READS = ['at once', 'slowly', 'and leaves', 'and resets'] as const

async function startService(t: Parameters<typeof startRawUpstream>[0]) {
  return startRawUpstream(t, (socket) => {
    socket.on('data', (bytes: Buffer) => {
      const [, seed = 0, end = 0] = /^GET \/(\d+)\/(\d+)/.exec(String(bytes))?.map(Number) ?? []
      const body = bodyOf(seed)
      socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${LENGTH}\r\n\r\n`)
      const part = body.subarray(0, 1_000_000 + seed * 1000)
      switch (SERVICE_ENDS[end]) {
        case 'ended early':
          socket.end(part)
          break
        case 'reset':
          socket.write(part, () => socket.resetAndDestroy())
          break
        case 'whole, and more':
          socket.write(body)
          socket.write('HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged')
          break
        case 'whole':
        case undefined:
          socket.write(body)
      }
    })
  })
}

/** A Unix socket cannot be reset. */
function abort(socket: Socket): void {
  if (socket.remoteAddress === undefined) socket.destroy()
  else socket.resetAndDestroy()
}

/** Reads a response, and breaks off at the given point. @returns the part of the body that arrived */
async function download(
  socket: Socket,
  request: string,
  how: (typeof CLIENT_READS)[number],
): Promise<Buffer> {
  const pieces: Buffer[] = []
  let size = 0
  socket.on('error', () => socket.destroy())
  socket.on('data', (piece: Buffer) => {
    pieces.push(piece)
    size += piece.length
    if (how === 'slowly') {
      socket.pause()
      later(1, () => void socket.resume())
    }
    if (size < 500_000) return
    if (how === 'and leaves') socket.end().destroy()
    else if (how === 'and resets') abort(socket)
  })
  socket.write(request)
  await once(socket, 'close')
  const all = Buffer.concat(pieces)
  return all.subarray(all.indexOf('\r\n\r\n') + 4)
}

for (const transport of ['TCP', 'a Unix socket']) {
  t.test(`large bodies that break off over ${transport} deliver no wrong byte`, async (t) => {
    const crashes = watchForCrashes()
    const path = join(temporaryFolder(t), 'gateway.sock')
    const gateway = await startBefore(
      t,
      await startService(t),
      transport === 'TCP'
        ? {}
        : { GATEWAY_SOCKET: path, GATEWAY_HOST: undefined, GATEWAY_PORT: undefined },
    )
    const files = openFiles()
    const one = async (seed: number, end: number, read: number) => {
      const socket = transport === 'TCP' ? connect(gateway.port, '127.0.0.1') : connect(path)
      const how = CLIENT_READS[read] ?? 'at once'
      const request = requestBytes(`GET /${seed}/${end}`, [
        gateway.auth,
        'Connection: close',
        'X-Forwarded-For: 192.0.2.1',
      ])
      const body = await download(socket, request, how)
      const shown = `${SERVICE_ENDS[end]}, read ${how}: ${body.length} bytes`
      t.ok(body.equals(bodyOf(seed).subarray(0, body.length)), shown)
      const isWhole = SERVICE_ENDS[end]?.startsWith('whole') === true && read < 2
      t.equal(body.length === LENGTH, isWhole, shown)
    }
    const all: Array<Promise<void>> = []
    for (let seed = 1; seed <= 3; seed++)
      for (const end of SERVICE_ENDS.keys())
        for (const read of CLIENT_READS.keys()) all.push(one(16 * seed + 4 * end + read, end, read))
    await Promise.all(all)
    await gateway.settled()
    // Idle connections to the service are closed after four seconds.
    await eventually(() => openFiles() <= files + 2, 'files are closed', 15_000)
    t.same(crashes, [])
  })
}
