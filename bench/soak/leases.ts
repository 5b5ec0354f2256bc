/** What do agents and owners do with leases of the vault? Agents use them; some are given back, some expire, and some are revoked by the owner. */
import { askDoor } from '../../src/services/ask-door.ts'
import { agentSocket, LEASES_PATH, ownerSocket } from '../../src/vault/protocol.ts'
import { AGENT, SERVICE } from '../peers/vault.ts'
import { nothingOf, type Activity } from './activity.ts'
import { ask } from './ask.ts'
import type { Programs } from './programs.ts'

/** The leases of a stretch that are given back, expire, and are revoked. The vault gives an agent one a second. */
const EACH = 5

/** How long a lease is valid that is left to expire (s). */
const SHORT_SECONDS = 5

const LIMITS = { limitMs: 15_000, maxBytes: 65_536 }

/** The leases of the vault. */
export class Leases implements Activity {
  readonly done = nothingOf('made', 'used', 'given back', 'expired', 'revoked')
  readonly #target: Programs['vault']
  readonly #sockets: string
  /** Those that have expired when the next stretch begins. */
  #left: string[] = []

  constructor({ vault, vaultSockets }: Programs) {
    this.#target = vault
    this.#sockets = vaultSockets
  }

  async stretch(): Promise<void> {
    for (const token of this.#left) await this.#seeOver(token, 'expired')
    for (const token of await this.#makeAndUse()) {
      const headers = { Authorization: `Bearer ${token}` }
      await this.#door(agentSocket(this.#sockets, AGENT), 'DELETE', LEASES_PATH, { headers })
      await this.#seeOver(token, 'given back')
    }
    const granted = await this.#makeAndUse()
    await this.#change('revoke')
    for (const token of granted) await this.#seeOver(token, 'revoked')
    await this.#change('grant')
    this.#left = await this.#makeAndUse({ ttl: SHORT_SECONDS })
  }

  async #makeAndUse(more: { readonly ttl?: number } = {}): Promise<string[]> {
    const tokens: string[] = []
    const socket = agentSocket(this.#sockets, AGENT)
    const body = { service: SERVICE, ...more }
    while (tokens.length < EACH) {
      const answer = await this.#door(socket, 'POST', LEASES_PATH, { body })
      const { token } = JSON.parse(answer) as { token: string }
      this.done.made++
      const { status, text } = await this.#use(token)
      if (status !== 200) throw new Error(`a lease is answered with ${status}: ${text}`)
      this.done.used++
      tokens.push(token)
    }
    return tokens
  }

  async #seeOver(token: string, how: 'given back' | 'expired' | 'revoked'): Promise<void> {
    const { status, text } = await this.#use(token)
    if (!text.includes(how === 'expired' ? 'lease-expired' : 'lease-revoked'))
      throw new Error(`a lease that was ${how} is answered with ${status}: ${text.slice(0, 300)}`)
    this.done[how]++
  }

  #use(token: string) {
    const { port, path } = this.#target
    const headers = { Host: `127.0.0.1:${port}`, Authorization: `Bearer ${token}` }
    return ask({ port, path, headers })
  }

  /** Takes the agent's grant away, which revokes its leases, or gives it back. */
  async #change(what: 'grant' | 'revoke'): Promise<void> {
    const path = `/v1/entries/${SERVICE}/${what}`
    await this.#door(ownerSocket(this.#sockets), 'POST', path, { body: { agents: [AGENT] } })
  }

  async #door(
    socket: string,
    method: 'POST' | 'DELETE',
    path: string,
    more: { readonly body?: object; readonly headers?: Readonly<Record<string, string>> },
  ): Promise<string> {
    const { status, bytes } = await askDoor(socket, { method, path, ...more, ...LIMITS })
    const text = bytes.toString('utf8')
    if (status >= 300) throw new Error(`the vault answers ${status} to ${method} ${path}: ${text}`)
    return text
  }
}
