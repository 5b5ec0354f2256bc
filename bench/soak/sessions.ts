/** What do people and owners do with sessions? They sign in, renew and sign out; owners revoke sessions, and make API tokens and revoke them. */
import { RENEW, SIGN_OUT } from '../../src/answers/pages/paths.ts'
import { address } from '../load/request-file.ts'
import { SMALL } from '../peers/peer.ts'
import { visitorHeaders } from '../workspace.ts'
import { nothingOf, type Activity } from './activity.ts'
import { askFor } from './ask.ts'
import { askOwner, revokeSession } from './owner.ts'
import type { Programs } from './programs.ts'
import { signedInBy, signIn, ticket, type SignedIn } from './sign-in.ts'

/** How long a session lasts (s), and until when at most it is seen that it has expired. */
const SESSION_SECONDS = 30
const OVER_MS = 2000

/** The people who sign in in each stretch: as many renew, sign out, are revoked, and do nothing until the session expires. */
const EACH = 2

/** The API tokens that are made in each stretch. */
const API_TOKENS = 2

/** The addresses of these people, after those of the crowds. */
const FIRST_ADDRESS = 100_000
const PEOPLE = 1000

/** The sessions of browsers, and the API tokens. */
export class Sessions implements Activity {
  readonly done = nothingOf(
    ...(['signed in', 'renewed', 'signed out', 'revoked', 'expired'] as const),
    ...(['API tokens made', 'API tokens revoked'] as const),
  )
  readonly #port: number
  readonly #stateDir: string
  #people = 0
  #apiTokens = 0
  /** Whose session is left to expire, and when it has. */
  #left: { person: SignedIn; endsAt: number }[] = []

  constructor({ gateway, stateDir }: Programs) {
    this.#port = gateway.port
    this.#stateDir = stateDir
  }

  async stretch(): Promise<void> {
    await this.#seeExpired()
    for (let i = 0; i < EACH; i++) {
      await this.#renew(await this.#signIn())
      await this.#signOut(await this.#signIn())
      await this.#revoke(await this.#signIn())
      this.#leave(await this.#signIn())
    }
    for (let i = 0; i < API_TOKENS; i++) await this.#useApiToken()
  }

  async #signIn(): Promise<SignedIn> {
    const n = this.#people++ % PEOPLE
    const subject = `person-${n}`
    const seconds = SESSION_SECONDS
    const person = await signIn(this.#port, {
      subject,
      address: address(FIRST_ADDRESS + n),
      seconds,
    })
    await this.#see(200, person.headers)
    this.done['signed in']++
    return person
  }

  async #renew(person: SignedIn): Promise<void> {
    const form = { token: await ticket(person.subject, 2 * SESSION_SECONDS) }
    const { headers } = person
    const question = { port: this.#port, path: RENEW, method: 'POST', headers, form } as const
    const renewed = signedInBy(await askFor(303, question), person)
    if (renewed.id !== person.id) throw new Error('a renewed session has another id')
    await this.#see(200, renewed.headers)
    this.done.renewed++
  }

  async #signOut({ headers }: SignedIn): Promise<void> {
    await askFor(303, { port: this.#port, path: SIGN_OUT, method: 'POST', headers, form: {} })
    await this.#see(401, headers)
    this.done['signed out']++
  }

  async #revoke({ id, headers }: SignedIn): Promise<void> {
    await revokeSession(this.#stateDir, id)
    await this.#see(401, headers)
    this.done.revoked++
  }

  #leave(person: SignedIn): void {
    this.#left.push({ person, endsAt: Date.now() + SESSION_SECONDS * 1000 + OVER_MS })
  }

  async #seeExpired(): Promise<void> {
    const over = this.#left.filter(({ endsAt }) => Date.now() > endsAt)
    this.#left = this.#left.filter((one) => !over.includes(one))
    for (const { person } of over) {
      await this.#see(401, person.headers)
      this.done.expired++
    }
  }

  async #useApiToken(): Promise<void> {
    const name = `soak-${this.#apiTokens++}`
    const body = { name, scopes: ['api'], ttlSeconds: 3600 }
    const made = await askOwner<{ token: string }>(this.#stateDir, 'POST', '/api-tokens', body)
    const headers = visitorHeaders(address(FIRST_ADDRESS), made.token)
    await this.#see(200, headers)
    this.done['API tokens made']++
    await askOwner(this.#stateDir, 'DELETE', `/api-tokens/${name}`)
    await this.#see(401, headers)
    this.done['API tokens revoked']++
  }

  async #see(status: number, headers: Readonly<Record<string, string>>): Promise<void> {
    await askFor(status, { port: this.#port, path: SMALL, headers })
  }
}
