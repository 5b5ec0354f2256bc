/** How do tests ask a vault without the vault? At a door that speaks src/vault/protocol.ts, counts what it is asked, and can fail. */
import { once } from 'node:events'
import {
  createServer,
  type IncomingMessage,
  type RequestListener,
  type ServerResponse,
} from 'node:http'
import type { Duplex } from 'node:stream'
import { text } from 'node:stream/consumers'
import { join } from 'node:path'
import type { Test } from 'tap'
import { LEASES_PATH } from '../../src/vault/protocol.ts'
import { vaultProblem, type VaultErrorCode, VAULT_ERRORS } from '../../src/vault/vault-errors.ts'
import { temporaryFolder } from './process.ts'

/** What a door was asked for under {@link LEASES_PATH}. */
interface Asked {
  readonly method: string
  readonly authorization: string | undefined
  readonly body: Record<string, unknown>
}

/** A door that runs. Its fields may be changed while it does. */
export interface FakeVault {
  readonly socket: string
  readonly asked: Asked[]
  /** The tokens that it has given out and not got back. */
  readonly held: Set<string>
  /** How long a lease is valid, in milliseconds. */
  leaseMs: number
  origin: string
  baseUrl: string | null
  /** Answers what is sent to a service. */
  onRequest: RequestListener
  onUpgrade: (request: IncomingMessage, socket: Duplex, head: Buffer) => void
  /** Answers under {@link LEASES_PATH} in the place of the door. @returns whether it did */
  refuse: (asked: Asked) => VaultErrorCode | undefined
  /** Takes no connection any longer, and ends those that are there. */
  stop(): Promise<void>
}

/** The refusal that {@link FakeVault.refuse} asks for. */
export const DETAIL = 'agent "coder" has no grant for "github"'

/** Opens a door. It is closed when the test ends. */
export async function startFakeVault(t: Test): Promise<FakeVault> {
  const socket = join(temporaryFolder(t), 'agent.sock')
  let count = 0
  const door: FakeVault = {
    ...{ socket, asked: [], held: new Set(), leaseMs: 900_000, baseUrl: null },
    origin: 'https://example.test',
    onRequest: (_, response) => void response.end('from the service'),
    onUpgrade: (_, tunnel) => void tunnel.destroy(),
    refuse: () => undefined,
    async stop() {
      const closed = once(server, 'close')
      server.close()
      server.closeAllConnections()
      await closed
    },
  }
  const answerLease = (asked: Asked): { status: number; body: string } => {
    const code = door.refuse(asked)
    if (code !== undefined)
      return { status: VAULT_ERRORS[code].status, body: vaultProblem({ code, detail: DETAIL }) }
    const token = asked.authorization?.replace('Bearer ', '') ?? `hvl_${count++}`
    if (asked.method === 'DELETE') {
      door.held.delete(token)
      return { status: 204, body: '' }
    }
    door.held.add(token)
    const expires = new Date(Date.now() + door.leaseMs).toISOString()
    const { baseUrl: base, origin } = door
    const answer = { token, base_url: base, origin, expires_at: expires, env: {} }
    return { status: asked.authorization === undefined ? 201 : 200, body: JSON.stringify(answer) }
  }
  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const body = await text(request)
    const asked: Asked = {
      method: request.method ?? '',
      authorization: request.headers.authorization,
      body: body === '' ? {} : (JSON.parse(body) as Record<string, unknown>),
    }
    door.asked.push(asked)
    const said = answerLease(asked)
    response.writeHead(said.status).end(said.body)
  }
  const server = createServer((request, response) => {
    if (request.url !== LEASES_PATH) return door.onRequest(request, response)
    void answer(request, response)
  })
  server.on('upgrade', (request: IncomingMessage, tunnel: Duplex, head: Buffer) =>
    door.onUpgrade(request, tunnel, head),
  )
  server.listen(socket)
  await once(server, 'listening')
  t.teardown(async () => {
    if (server.listening) await door.stop()
  })
  return door
}
