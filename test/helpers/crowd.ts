/** How does a test see who notices the end of a session? With ten sessions that hold 50 WebSockets and 20 event streams. */
import type { ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Test } from 'tap'
import { startUpstream, type Upstream } from './upstream.ts'
import { within } from './waiting.ts'
import {
  clientFrame,
  closeCode,
  dechunk,
  gather,
  open,
  parseAnswer,
  requestBytes,
  serverFrame,
  upgrade,
  type Received,
  type Upgraded,
} from './wire.ts'

const SOCKETS = 5
const STREAMS = 2

/** The connections of one session. */
export interface Member {
  readonly sockets: readonly Upgraded[]
  readonly streams: ReadonlyArray<{ readonly socket: Socket; readonly received: Received }>
}

/** A service whose WebSockets echo, and whose other answers are event streams without an end. */
export interface CrowdService extends Upstream {
  /** The streams that are open. */
  readonly streams: ReadonlySet<ServerResponse>
}

export async function startCrowdService(t: Test): Promise<CrowdService> {
  const streams = new Set<ServerResponse>()
  const service = await startUpstream(t, (_request, response) => {
    streams.add(response)
    response.on('close', () => streams.delete(response))
    response.writeHead(200, { 'Content-Type': 'text/event-stream' })
    response.write('data: hello\n\n')
  })
  return { ...service, streams }
}

/** Opens five WebSockets and two event streams. @param fields the header lines with the credential */
export async function join(t: Test, port: number, fields: readonly string[]): Promise<Member> {
  const sockets = await Promise.all(
    Array.from({ length: SOCKETS }, () => upgrade(port, '/api/ws', fields)),
  )
  const streams = await Promise.all(
    Array.from({ length: STREAMS }, async () => {
      const socket = await open(port)
      const received = gather(socket)
      socket.write(requestBytes('GET /api/events', fields))
      await received.until((text) => text.includes('data: hello'))
      return { socket, received }
    }),
  )
  for (const { answer, socket } of sockets) {
    t.equal(answer.status, 101)
    socket.on('end', () => socket.end())
  }
  for (const { received } of streams) t.equal(parseAnswer(received.text()).status, 200)
  return { sockets, streams }
}

/**
 * Waits for the end of a member's connections, and asserts how they ended: each WebSocket with the code 4401, each stream cut.
 * @param sinceMs when the end was to begin, on the monotonic clock
 */
export async function assertEnded(
  t: Test,
  { sockets, streams }: Member,
  sinceMs: number,
  boundMs: number,
): Promise<void> {
  const all = [
    ...sockets.map(({ closed }) => closed),
    ...streams.map(({ received }) => received.over),
  ]
  t.ok(await within(boundMs, Promise.all(all)), `all ended within ${boundMs} ms`)
  t.comment(`ended after ${Math.round(performance.now() - sinceMs)} ms`)
  t.same(
    sockets.map(closeCode),
    sockets.map(() => 4401),
  )
  for (const { received } of streams)
    t.equal(dechunk(parseAnswer(received.text()).body), undefined, 'a cut stream')
}

let said = 0

/** Asserts that members have noticed nothing: each WebSocket still echoes, and each stream gets another event. */
export async function assertUnaware(
  t: Test,
  members: readonly Member[],
  service: CrowdService,
): Promise<void> {
  const word = `word ${++said}`
  const echo = serverFrame(1, word)
  const sockets = members.flatMap((member) => member.sockets)
  const streams = members.flatMap((member) => member.streams)
  for (const response of service.streams) response.write(`data: ${word}\n\n`)
  const echoes = sockets.map(async ({ socket, until, received }) => {
    const before = received().length
    socket.write(clientFrame(1, word))
    return (await until(before + echo.length)).subarray(before)
  })
  for (const heard of await Promise.all(echoes)) t.same(heard, echo)
  for (const { received } of streams)
    t.match(await received.until((text) => text.includes(word)), word)
  t.same(
    sockets.map(closeCode),
    sockets.map(() => undefined),
  )
}

/** Closes what members still hold. */
export function leave(members: readonly Member[]): void {
  for (const { sockets, streams } of members)
    for (const { socket } of [...sockets, ...streams]) socket.destroy()
}
