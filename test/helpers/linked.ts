/** How does a test speak as a paired device? On a connection to GATEWAY_LINK_SOCKET that begins with the line of the link. */
import { join } from 'node:path'
import type { Test } from 'tap'
import type { DeviceSessionAnswer } from '../../src/http/device-session.ts'
import {
  LINK_DEVICES,
  writeLinkLine,
  type DeviceLine,
  type LinkLine,
} from '../../src/http/link-line.ts'
import { startWorkspace } from './gateway.ts'
import { temporaryFolder } from './process.ts'
import { exchange, parseAnswer, requestBytes, type RawAnswer } from './wire.ts'

/** The id of a device, by a number. */
export function deviceId(number: number): string {
  return Buffer.alloc(16, number).toString('base64url')
}

/** What the link says of Alice's phone. */
export const PHONE: DeviceLine = {
  kind: 'device',
  device: deviceId(1),
  relay: 'wss://relay.example.com',
  sub: 'alice',
  name: 'Phone',
}

/** Starts a workspace with a listener for the link. */
export async function startLinked(t: Test, overrides: Record<string, string | undefined> = {}) {
  const linkSocket = join(temporaryFolder(t), 'link.sock')
  const workspace = await startWorkspace(t, { GATEWAY_LINK_SOCKET: linkSocket, ...overrides })
  return { ...workspace, linkSocket }
}

/** The bytes of a connection of the link with one request. */
export function linkedBytes(
  line: LinkLine,
  requestLine: string,
  headers: readonly string[] = [],
  body = '',
): Buffer {
  const isClosed = headers.some((header) => header.toLowerCase().startsWith('connection:'))
  const fields = [
    ...(isClosed ? [] : ['Connection: close']),
    ...(body === ''
      ? []
      : ['Content-Type: application/json', `Content-Length: ${Buffer.byteLength(body)}`]),
    ...headers,
  ]
  return Buffer.concat([writeLinkLine(line), Buffer.from(requestBytes(requestLine, fields, body))])
}

/** Sends one request on a connection of the link of its own. */
export async function sendLinked(
  linkSocket: string,
  line: LinkLine,
  ...request: [requestLine: string, headers?: readonly string[], body?: string]
): Promise<RawAnswer> {
  return parseAnswer(await exchange(linkSocket, linkedBytes(line, ...request)))
}

/** Asks for the session of a device, as its client does. @throws when there is none */
export async function deviceSession(
  linkSocket: string,
  line: DeviceLine = PHONE,
  headers: readonly string[] = [],
  body = '',
): Promise<DeviceSessionAnswer> {
  const answer = await sendLinked(
    linkSocket,
    line,
    'POST /_gateway/device-session',
    [...headers, ...(body === '' ? ['Content-Length: 0'] : [])],
    body,
  )
  if (answer.status !== 200) throw new Error(answer.raw)
  return JSON.parse(answer.body) as DeviceSessionAnswer
}

/** Tells the gateway which devices are listed, as the link does. */
export function tellDevices(linkSocket: string, devices: readonly string[]): Promise<RawAnswer> {
  const body = JSON.stringify({ devices })
  return sendLinked(linkSocket, { kind: 'link' }, `PUT ${LINK_DEVICES}`, [], body)
}
