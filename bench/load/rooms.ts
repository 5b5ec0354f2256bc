/**
 * Who meets at the relay? A daemon and its devices, all in this process, on plain sockets. Takes a job as JSON. `echo`: prints how long a
 * message takes there and back, which is twice through the relay, and how long without it. `bulk`: prints how fast messages of 64 KiB
 * pass.
 */
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import { WebSocket } from 'ws'
import { toBase64Url } from '../../src/relay/protocol/bytes.ts'
import { placeId } from '../../src/relay/protocol/places.ts'
import {
  CONTROL_PATH,
  decodeRelayMessage,
  DEVICE_PREFIX,
  encodeDaemonMessage,
  MAX_DEVICES_PER_PLACE,
  MAX_FRAME_BYTES,
  SEAT_PREFIX,
} from '../../src/relay/protocol/relay-wire.ts'
import { percentile } from '../statistics.ts'
import { openWebSocket } from './handshake.ts'
import { address } from './request-file.ts'

/** The job of this file when it runs as a process. */
export interface RoomJob {
  readonly port: number
  readonly what: 'echo' | 'bulk'
  readonly seconds: number
}

/** What `echo` prints, in milliseconds, and `bulk`, in megabytes a second. */
export interface RoomResult {
  readonly value: number
  /** Without the relay; undefined for `bulk`. */
  readonly direct?: number
}

/** The devices that the relay lets in from one address. */
const PER_ADDRESS = 8

/** A device and the daemon's connection for it. */
interface Pair {
  readonly device: Socket
  readonly seat: Socket
}

/** Opens rooms, one after the other. @param already how many are open, whose addresses are taken @returns them, and a function that ends everything */
export async function openRooms(
  port: number,
  count: number,
  already = 0,
): Promise<{ rooms: Pair[]; end: () => void }> {
  const control = new WebSocket(`ws://127.0.0.1:${port}${CONTROL_PATH}`)
  await once(control, 'open')
  const keys = Array.from({ length: Math.ceil(count / MAX_DEVICES_PER_PLACE) }, () =>
    Uint8Array.from(randomBytes(32)),
  )
  control.send(encodeDaemonMessage({ kind: 'sit', keys }))
  await once(control, 'message')
  const rooms: Pair[] = []
  for (const key of keys) {
    const place = toBase64Url(await placeId(key))
    for (let i = 0; i < MAX_DEVICES_PER_PLACE && rooms.length < count; i++) {
      const knock = once(control, 'message')
      const headers = {
        Host: 'relay',
        'X-Forwarded-For': address(Math.floor((already + rooms.length) / PER_ADDRESS)),
      }
      const device = await openWebSocket({ port, path: DEVICE_PREFIX + place, headers })
      const [bytes] = (await knock) as [Buffer]
      const message = decodeRelayMessage(Uint8Array.from(bytes))
      if (message?.kind !== 'knock') throw new Error('the relay does not knock')
      const path = `${SEAT_PREFIX}${place}/${toBase64Url(message.ticket)}`
      const seat = await openWebSocket({ port, path, headers: { Host: 'relay' } })
      rooms.push({ device, seat })
    }
  }
  return {
    rooms,
    end() {
      for (const { device, seat } of rooms) {
        device.destroy()
        seat.destroy()
      }
      control.terminate()
    },
  }
}

/** The bytes of the message that goes there and back. */
const SMALL_BYTES = 100

/** A masked binary frame with a mask of zeros (RFC 6455 section 5.2), of more than 125 bytes or fewer. */
function frameOf(size: number): Buffer {
  const head = [0x82]
  if (size < 126) head.push(0x80 | size)
  else if (size < 65_536) head.push(0xfe, size >> 8, size & 255)
  else head.push(0xff, 0, 0, 0, 0, 0, size >> 16, (size >> 8) & 255, size & 255)
  return Buffer.concat([Buffer.from([...head, 0, 0, 0, 0]), Buffer.alloc(size)])
}

/** Sends a message as soon as the one before has come back. @param far sends back what it gets */
async function there(near: Socket, far: Socket, seconds: number, framed: boolean): Promise<number> {
  const message = framed ? frameOf(SMALL_BYTES) : Buffer.alloc(SMALL_BYTES)
  const length = SMALL_BYTES + (framed ? 2 : 0)
  let arrived = 0
  far.on('data', (piece) => {
    arrived += piece.length
    for (; arrived >= length; arrived -= length) far.write(message)
  })
  const times: number[] = []
  const endsAt = performance.now() + seconds * 1000
  while (performance.now() < endsAt) {
    const sentAt = performance.now()
    near.write(message)
    for (let came = 0; came < length;) came += ((await once(near, 'data')) as [Buffer])[0].length
    times.push(performance.now() - sentAt)
  }
  return percentile(times, 0.5)
}

async function echo({ device, seat }: Pair, seconds: number): Promise<RoomResult> {
  const server = createServer({ noDelay: true }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const near = connect({
    port: (server.address() as AddressInfo).port,
    host: '127.0.0.1',
    noDelay: true,
  })
  const [far] = (await once(server, 'connection')) as [Socket]
  const direct = await there(near, far, seconds / 2, false)
  return { value: await there(device, seat, seconds / 2, true), direct }
}

async function bulk({ device, seat }: Pair, seconds: number): Promise<RoomResult> {
  const frame = frameOf(MAX_FRAME_BYTES)
  let bytes = 0
  seat.on('data', (piece) => (bytes += piece.length))
  const pour = (): void => {
    while (device.write(frame));
  }
  device.on('drain', pour)
  const startedAt = performance.now()
  pour()
  await new Promise((resolve) => {
    setTimeout(resolve, seconds * 1000)
  })
  return { value: bytes / 1e6 / ((performance.now() - startedAt) / 1000) }
}

if (process.argv[1] === import.meta.filename) {
  const { port, what, seconds } = JSON.parse(process.argv[2] ?? '{}') as RoomJob
  const { rooms } = await openRooms(port, 1)
  const [room] = rooms
  if (room === undefined) throw new Error('there is no room')
  const result = await (what === 'echo' ? echo : bulk)(room, seconds)
  process.stdout.write(JSON.stringify(result), () => process.exit())
}
