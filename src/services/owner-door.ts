/**
 * How does the gateway ask another of the workspace's programs for its owners? At that program's owner's door, bounded in time and in size.
 * Nobody but an owner of the workspace gets here, because such a door does whatever it is asked.
 */
import { GatewayError, noAnswerReason } from '../answers/errors.ts'
import { printable } from '../answers/printable.ts'
import { askDoor, type DoorQuestion } from './ask-door.ts'
import { jsonIn, OddAnswerError } from './door-fields.ts'

/** A longer sentence of the program is cut (characters). */
const MAX_SENTENCE_LENGTH = 500

/** A refusal of the program: its code, and its sentence. */
export interface DoorRefusal {
  readonly code: string
  readonly detail: string
}

/** Whose door it is, and what is said of it. */
export interface OwnerDoorOptions extends Pick<DoorQuestion, 'limitMs' | 'maxBytes'> {
  /** The path of the socket. */
  readonly socket: string
  /** Begins the reasons in the log. */
  readonly program: 'vault' | 'link'
  /** The error when there is no answer, or one that cannot be understood. */
  readonly unavailable: 'vault-unavailable' | 'link-unavailable'
  /** The detail of that error. */
  readonly awayDetail: string
  /** Reads a refusal. @throws {OddAnswerError} */
  readonly refusalIn: (body: unknown) => DoorRefusal
  /** The detail of a refusal. @param sentence the program's own */
  readonly refusalDetail: (sentence: string) => string
}

/** Which code of ours a refusal gets; `unavailable` for any other. */
const CODES: Readonly<Partial<Record<string, 'bad-request' | 'not-found'>>> = {
  'bad-request': 'bad-request',
  'not-found': 'not-found',
  conflict: 'bad-request',
}

/** An owner's door. */
export class OwnerDoor {
  readonly #options: OwnerDoorOptions

  constructor(options: OwnerDoorOptions) {
    this.#options = options
  }

  /**
   * Asks.
   * @param read takes the answer of a success to pieces
   * @throws {GatewayError} `unavailable`; `bad-request` or `not-found` with the program's own sentence
   */
  async ask<Answer>(
    method: DoorQuestion['method'],
    path: string,
    read: (body: unknown) => Answer,
    body?: object,
  ): Promise<Answer> {
    const { socket, limitMs, maxBytes, refusalIn } = this.#options
    let refusal: DoorRefusal
    try {
      const { status, bytes } = await askDoor(socket, { method, path, body, limitMs, maxBytes })
      const json = jsonIn(bytes)
      if (status === 200) return read(json)
      refusal = refusalIn(json)
    } catch (cause) {
      throw this.#away(cause)
    }
    throw this.#refused(refusal)
  }

  /** The error of an answer to a change that does not have the change: another program may say 200 to anything. */
  notChanged(): GatewayError {
    return this.#away(new OddAnswerError('its answer does not have the change'))
  }

  #away(cause: unknown): GatewayError {
    const { program, unavailable, awayDetail: detail } = this.#options
    // For the log: one of our fixed texts, or a code of the system.
    const why = cause instanceof OddAnswerError ? cause.message : noAnswerReason(cause)
    return new GatewayError(unavailable, { reason: `${program}: ${why}`, detail, cause })
  }

  #refused({ code, detail: sentence }: DoorRefusal): GatewayError {
    const { program, unavailable, refusalDetail } = this.#options
    const detail = refusalDetail(printable(sentence.slice(0, MAX_SENTENCE_LENGTH)))
    return new GatewayError(CODES[code] ?? unavailable, { reason: `${program}: ${code}`, detail })
  }
}
