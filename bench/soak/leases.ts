/** What do agents and owners do with leases of the vault? Agents use them; some are given back, some expire, and some are renewed, until the owner revokes them. */
import { askDoor } from '../../src/services/ask-door.ts'
import { agentSocket, LEASES_PATH, ownerSocket } from '../../src/vault/protocol.ts'
import { AGENT, SERVICE } from '../peers/vault.ts'
import { nothingOf, type Activity } from './activity.ts'
import { ask } from './ask.ts'
import type { Programs } from './programs.ts'

/** The leases of a stretch that are given back, that expire, and that are renewed and revoked in the next. The vault gives an agent one a second. */
const EACH = 5

/** How long a lease is valid that is left to expire (s). */
const SHORT_SECONDS = 5

const LIMITS = { limitMs: 15_000, maxBytes: 65_536 }

/** The leases of the vault. */
export class Leases implements Activity {
  readonly done = nothingOf(
    ...(['made', 'used', 'renewed', 'given back', 'expired', 'revoked'] as const),
  )
  readonly #target: Programs['vault']
  readonly #sockets: string
  /** The agent's door. */
  readonly #agent: string
  /** Those that have expired when the next stretch begins. */
  #left: string[] = []
  /** Those that are renewed then. */
  #standing: string[] = []

  constructor({ vault, vaultSockets }: Programs) {
    this.#target = vault
    this.#sockets = vaultSockets
    this.#agent = agentSocket(vaultSockets, AGENT)
  }

  async stretch(): Promise<void> {
    for (const token of this.#left) await this.#seeOver(token, 'expired')
    for (const token of await this.#makeAndUse()) {
      const headers = { Authorization: `Bearer ${token}` }
      await this.#door(this.#agent, 'DELETE', LEASES_PATH, { headers })
      await this.#seeOver(token, 'given back')
    }
    for (const token of this.#standing) await this.#renew(token)
    await this.#change('revoke')
    for (const token of this.#standing) await this.#seeOver(token, 'revoked')
    await this.#change('grant')
    this.#left = await this.#makeAndUse({ ttl: SHORT_SECONDS })
    this.#standing = await this.#makeAndUse()
  }

  async #makeAndUse(more: { readonly ttl?: number } = {}): Promise<string[]> {
    const tokens: string[] = []
    const body = { service: SERVICE, ...more }
    while (tokens.length < EACH) {
      const answer = await this.#door(this.#agent, 'POST', LEASES_PATH, { body })
      const { token } = JSON.parse(answer) as { token: string }
      this.done.made++
      await this.#seeGood(token)
      tokens.push(token)
    }
    return tokens
  }

  async #renew(token: string): Promise<void> {
    const headers = { Authorization: `Bearer ${token}` }
    await this.#door(this.#agent, 'POST', LEASES_PATH, { headers, body: { renew: true } })
    this.done.renewed++
    await this.#seeGood(token)
  }

  async #seeGood(token: string): Promise<void> {
    const { status, text } = await this.#use(token)
    if (status !== 200) throw new Error(`a lease is answered with ${status}: ${text}`)
    this.done.used++
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
