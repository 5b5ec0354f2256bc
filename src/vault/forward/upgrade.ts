/**
 * How does a request become a WebSocket to a service? Only when the entry says so, and without extensions, because a compressed
 * message would hide the credential. The bytes from the service are scrubbed; a form that is divided among frames is not found.
 */
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { fieldLines } from '../../http/fields.ts'
import { FrameFollower } from '../../http/frames.ts'
import { resetConnection } from '../../http/reset.ts'
import { endSoon, headText, refuseOnSocket } from '../refusal.ts'
import { Scrubber } from '../scrub/scrubber.ts'
import type { Use } from '../use.ts'
import { VaultError } from '../vault-errors.ts'
import { agentHead, type AgentHead } from './answer-headers.ts'
import { askService, type ServiceAnswer } from './ask-service.ts'
import { faultOf } from './faults.ts'
import type { Parts } from './parts.ts'
import { decodedBody, pumpAnswer, put } from './pump.ts'
import { RunningUse } from './running-use.ts'

/** In the first byte of a frame: 0 unless an extension was negotiated (RFC 6455 section 5.2). A compressed message has one of them. */
const EXTENSION_BITS = 0x70

/** Forwards an upgrade. Resolves when the WebSocket is over. Never rejects. */
export async function forwardUpgrade(
  parts: Parts,
  use: Use,
  request: IncomingMessage,
  socket: Duplex,
  head: Buffer,
): Promise<void> {
  const run = new RunningUse(parts, use, request.method ?? '')
  const abort = () => run.end('aborted')
  socket.on('close', abort)
  socket.on('error', abort)
  try {
    refuseUnlessAllowed(use)
    const answered = await askService(parts, run, request, (asked) => asked.end(), true)
    await relay(parts, run, answered, socket, head)
    run.complete('done')
  } catch (error) {
    run.complete(fail(run, error, socket))
  } finally {
    socket.off('close', abort)
  }
}

function refuseUnlessAllowed({ entry: { policy } }: Use): void {
  if (policy.upgrade) return
  throw new VaultError(
    'upgrade-not-allowed',
    `"${policy.service}" may not be used for WebSockets; the owner decides that when the entry is added`,
  )
}

async function relay(
  parts: Parts,
  run: RunningUse,
  { answer, asked, switched }: ServiceAnswer,
  socket: Duplex,
  head: Buffer,
): Promise<void> {
  const service = switched?.socket
  const end = () => {
    service?.destroy()
    asked.destroy()
    // Not before its head was sent: the refusal comes through it.
    if (run.status !== undefined) socket.destroy()
  }
  run.signal.addEventListener('abort', end, { once: true })
  try {
    run.refuseIfEnded()
    const agents = headFor(parts, run, answer)
    if (switched === undefined) await passAnswer(parts, run, agents, answer, socket)
    else await tunnel(parts, run, agents, answer, switched, socket, head)
  } finally {
    run.signal.removeEventListener('abort', end)
    service?.destroy()
    answer.destroy()
  }
}

function headFor(parts: Parts, run: RunningUse, answer: IncomingMessage): AgentHead {
  const { entry } = run.use
  const { statusCode: status = 0, statusMessage: message = '', rawHeaders: raw } = answer
  const automaton = parts.automatonOf(entry)
  const agents = agentHead({ status, message, raw }, run.method, entry.policy.decode, automaton)
  if (agents.hits > 0) run.reflected()
  return agents
}

/** The service refused: its answer is passed on, and the connection is closed behind it. */
async function passAnswer(
  parts: Parts,
  run: RunningUse,
  agents: AgentHead,
  answer: IncomingMessage,
  socket: Duplex,
): Promise<void> {
  begin(parts, run, agents, socket, ['Connection', 'close'])
  if (agents.hasBody) {
    const scrubber = new Scrubber(parts.automatonOf(run.use.entry))
    await pumpAnswer(decodedBody(answer, agents.coding), socket, scrubber, { run })
  }
  endSoon(socket)
}

async function tunnel(
  parts: Parts,
  run: RunningUse,
  agents: AgentHead,
  answer: IncomingMessage,
  { socket: service, head: first }: { readonly socket: Duplex; readonly head: Buffer },
  socket: Duplex,
  head: Buffer,
): Promise<void> {
  refuseUnlessWebSocket(answer)
  begin(parts, run, agents, socket, ['Connection', 'Upgrade', 'Upgrade', 'websocket'])
  const scrubber = new Scrubber(parts.automatonOf(run.use.entry))
  // Back into the stream, so that it is scrubbed in order.
  if (first.length > 0) service.unshift(first)
  if (head.length > 0) socket.unshift(head)
  // The end of one side is the end of both: a WebSocket is not closed by halves.
  const up = pumpUp(socket, service, run)
  up.catch(() => {})
  const down = pumpFrames(service, socket, scrubber, run)
  down.catch(() => {})
  await Promise.race([up, down])
  if (service.readableEnded) await down
  endSoon(service)
  endSoon(socket)
}

function refuseUnlessWebSocket({ rawHeaders, statusCode }: IncomingMessage): void {
  const protocol = fieldLines(rawHeaders, 'upgrade').join().trim().toLowerCase()
  if (statusCode !== 101 || protocol !== 'websocket')
    throw new VaultError('answer-malformed', 'the service switched to another protocol')
  if (fieldLines(rawHeaders, 'sec-websocket-extensions').length > 0)
    throw new VaultError(
      'answer-encoded',
      'the service chose an extension that was not offered, so a credential in a message would not be found',
    )
}

function begin(
  parts: Parts,
  run: RunningUse,
  { status, message, raw }: AgentHead,
  socket: Duplex,
  more: readonly string[],
): void {
  run.status = status
  run.expect('more', parts.timeouts.idleMs)
  socket.write(headText(status, message, [...raw, ...more]))
}

/**
 * From the service to the agent, scrubbed frame by frame. What the scrubber holds back leaves at the end of the frame, because the next
 * one may come much later, and a message must not wait for it. Rejects at bytes that are no frames of a server.
 */
async function pumpFrames(
  service: Duplex,
  socket: Duplex,
  scrubber: Scrubber,
  run: RunningUse,
): Promise<void> {
  const frames = new FrameFollower('server')
  for await (const chunk of service) {
    let rest = chunk as Buffer
    while (rest.length > 0) {
      const length = frameBytes(frames, rest)
      await put(socket, scrubber.push(rest.subarray(0, length)), run)
      if (scrubber.hits > 0) run.reflected()
      if (frames.atBoundary) await put(socket, scrubber.end(), run)
      rest = rest.subarray(length)
    }
  }
  await put(socket, scrubber.end(), run)
}

/** How many bytes of a chunk belong to the frame that begins or goes on with it. @throws {VaultError} */
function frameBytes(frames: FrameFollower, chunk: Buffer): number {
  if (frames.atBoundary && ((chunk[0] ?? 0) & EXTENSION_BITS) !== 0)
    throw new VaultError('answer-encoded', 'the service sent a frame of an extension, unasked')
  const begun = frames.atBoundary ? frames.follow(chunk.subarray(0, 1)) : 0
  const more = frames.follow(chunk.subarray(begun), 'frame')
  if (begun < 0 || more < 0)
    throw new VaultError('answer-malformed', 'the service sent bytes that are no WebSocket frames')
  return begun + more
}

/** From the agent to the service, unchanged. */
async function pumpUp(socket: Duplex, service: Duplex, run: RunningUse): Promise<void> {
  for await (const chunk of socket.iterator({ destroyOnReturn: false }))
    await put(service, chunk as Buffer, run)
}

/** Answers with the fault, or breaks off what has begun. @returns how the use ended */
function fail(run: RunningUse, error: unknown, socket: Duplex) {
  const { cause } = run
  const fault = faultOf(cause instanceof VaultError ? cause : error, run.use.entry.policy.service)
  const isBegun = run.status !== undefined
  if (isBegun || cause === 'aborted') resetConnection(socket)
  else
    refuseOnSocket(
      socket,
      cause === 'cut' ? new VaultError('lease-revoked', 'the lease was revoked') : fault,
    )
  if (cause === 'cut' || cause === 'aborted') return cause
  return isBegun ? 'failed' : fault.code
}
