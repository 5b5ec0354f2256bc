/** By what does the gateway know whose device this is? By a token that the device fetches over the channel, and keeps in memory alone. */
import { DEVICE_SESSION, type DeviceSessionAnswer } from '../../http/device-session.ts'
import type { ClientClock } from './clock.ts'
import { sendRequest, type RemoteAnswer, type Way } from './http.ts'
import { RemoteError } from './remote-error.ts'

/** The part of its life after which a token is renewed. */
const RENEW_AT = 0.75

/** The shortest and the longest life that is believed, in milliseconds. */
const MIN_LIFE_MS = 60_000
const MAX_LIFE_MS = 86_400_000

const MAX_ANSWER_BYTES = 65_536

/** The error of an answer that is a problem document (RFC 9457). */
export class RefusedError extends RemoteError {
  readonly status: number
  /** The code of the problem, such as `step-up-required`; an empty text when the answer had none. */
  readonly code: string

  constructor(status: number, code: string, message: string) {
    super('refused', message)
    this.status = status
    this.code = code
  }
}

/** The session of a device. One for each connection. */
export class DeviceSession {
  readonly #way: Way
  readonly #clock: ClientClock
  #token: Promise<string> | undefined
  /** The token that came last: sent along, so that a new one keeps the factor that was shown. */
  #current: string | undefined
  #renewAt = 0
  #cancelRenewal = () => {}

  constructor(way: Way) {
    this.#way = way
    this.#clock = way.clock
  }

  /** The token, which is fetched when there is none that is good for a while. @throws {RemoteError} */
  token(): Promise<string> {
    if (this.#token !== undefined && this.#clock.now() < this.#renewAt) return this.#token
    return this.#fetch()
  }

  /** Shows a second factor: a code of the authenticator app, or a backup code. @throws {RefusedError} with what is wrong with it */
  async showFactor(code: string): Promise<void> {
    await this.#fetch({ code })
  }

  /** Forgets the token, so that the next request fetches another. */
  forget(): void {
    this.#cancelRenewal()
    this.#token = undefined
    this.#current = undefined
  }

  #fetch(body?: object): Promise<string> {
    const token = this.#ask(body)
    this.#token = token
    // Until it is known how long it lives, everybody waits for this one.
    this.#renewAt = Number.POSITIVE_INFINITY
    token.catch(() => {
      if (this.#token === token) this.#token = undefined
    })
    return token
  }

  async #ask(body: object | undefined): Promise<string> {
    const answer = await this.#post(body)
    if (answer.status !== 200) throw await refusalOf(answer)
    const { token, endsAt } = sessionIn(await answer.text(MAX_ANSWER_BYTES))
    this.#current = token
    this.#planRenewal(Date.parse(endsAt) - this.#serverTime(answer))
    return token
  }

  async #post(body: object | undefined): Promise<RemoteAnswer> {
    const current = this.#current
    const answer = await sendRequest(this.#way, {
      ...{ method: 'POST', path: DEVICE_SESSION },
      headers: {
        ...(current === undefined ? {} : { Authorization: `Bearer ${current}` }),
        ...(body === undefined ? {} : { 'Content-Type': 'application/json' }),
      },
      body: body === undefined ? undefined : JSON.stringify(body),
    })
    if (current === undefined || !isTokenOver(answer)) return answer
    await answer.body.cancel()
    if (this.#current === current) this.#current = undefined
    return this.#post(body)
  }

  /** The workspace's clock, because the device's may be wrong. */
  #serverTime({ headers }: RemoteAnswer): number {
    const date = Date.parse(headers.get('Date') ?? '')
    return Number.isNaN(date) ? this.#clock.now() : date
  }

  #planRenewal(lifeMs: number): void {
    const life = Math.min(Math.max(lifeMs, MIN_LIFE_MS), MAX_LIFE_MS) * RENEW_AT
    this.#renewAt = this.#clock.now() + life
    this.#cancelRenewal()
    // Without a request too, because the session's WebSockets end with it.
    this.#cancelRenewal = this.#clock.after(life, () => void this.#fetch().catch(() => {}))
  }
}

/** Whether an answer says that the token of its request is over. */
export function isTokenOver({ status, headers }: RemoteAnswer): boolean {
  const code = headers.get(ERROR_FIELD)
  return status === 401 && (code === 'token-invalid' || code === 'token-expired')
}

/** The field by which the gateway marks what it answers itself. */
const ERROR_FIELD = 'X-Gateway-Error'

function sessionIn(text: string): DeviceSessionAnswer {
  const { token, endsAt, sub } = fieldsOf(text)
  if (
    typeof token !== 'string' ||
    !/^[\x21-\x7e]{1,8192}$/.test(token) ||
    typeof endsAt !== 'string' ||
    Number.isNaN(Date.parse(endsAt)) ||
    typeof sub !== 'string'
  )
    throw new RemoteError('bad-answer', 'the workspace’s answer holds no session')
  return { token, endsAt, sub }
}

/** What an answer says that refuses. */
export async function refusalOf(answer: RemoteAnswer): Promise<RefusedError> {
  const { code, detail, title } = fieldsOf(await answer.text(MAX_ANSWER_BYTES))
  const words = [detail, title].find((text) => typeof text === 'string')
  return new RefusedError(
    answer.status,
    typeof code === 'string' ? code : '',
    typeof words === 'string' ? words : `the workspace answered with ${answer.status}`,
  )
}

/** The fields of a JSON object; none for any other text. */
export function fieldsOf(text: string): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null ? { ...value } : {}
  } catch {
    return {}
  }
}
