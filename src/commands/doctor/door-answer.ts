/** What does the owner's door of another program answer to doctor? JSON, of which nothing is believed before its members are checked. */
import { codeOf } from '../../answers/errors.ts'
import { askDoor } from '../../services/ask-door.ts'
import { fail, type Finding } from './finding.ts'
import { readUsers } from './users.ts'

/** Why there is no answer: the code of the system's error, or one of those below. */
export interface NoAnswerOfDoor {
  readonly failed: string
}

/** The program did not answer in time. */
const SILENT = 'ETIMEDOUT'

/** What answers is another program. */
export const GARBAGE = 'garbage'

/** How long an answer may take (ms). Who is asked is on this machine, and answers from memory. */
export const DOOR_MS = 2000

/** A longer answer is refused (bytes): a thousand entries are shorter. */
const MAX_BYTES = 16 * 1024 * 1024

/** Sends one GET to a door. Never rejects. */
export async function askForJson(
  socket: string,
  path: string,
  limitMs: number,
): Promise<{ readonly json: unknown } | NoAnswerOfDoor> {
  const startedAt = performance.now()
  try {
    const question = { method: 'GET', path, limitMs, maxBytes: MAX_BYTES } as const
    const { status, bytes } = await askDoor(socket, question)
    return status === 200
      ? { json: JSON.parse(bytes.toString('utf8')) as unknown }
      : { failed: GARBAGE }
  } catch (error) {
    // The body of an answer that the time limit cuts fails with another error than its head.
    if (performance.now() - startedAt >= limitMs - 1) return { failed: SILENT }
    const code = codeOf(error)
    return { failed: /^E[A-Z]+$/.test(code) ? code : GARBAGE }
  }
}

/** Whose door gave no answer, and what to do about it. */
export interface DoorRemedies {
  /** The name of the check. */
  readonly check: string
  readonly program: 'vault' | 'link'
  /** When the program does not run. */
  readonly start: string
  /** When this user may not open the socket. */
  readonly access: () => string
  /** When the program is silent. */
  readonly silent: string
  /** The settings of the gateway and of the program that name the socket, for when another program listens there. */
  readonly settings: readonly [ofGateway: string, ofProgram: string]
}

/** The finding for a door without an answer. */
export function notReached(
  socket: string,
  { failed }: NoAnswerOfDoor,
  { check, program, start, access, silent, settings: [ofGateway, ofProgram] }: DoorRemedies,
): Finding {
  switch (failed) {
    case 'ENOENT':
    case 'ENOTDIR':
      return fail(check, `${socket} does not exist: no ${program} runs there`, start)
    case 'ECONNREFUSED':
      return fail(check, `${socket}: the ${program} that made it has ended`, start)
    case 'EACCES':
    case 'EPERM':
      return fail(
        check,
        `${socket} may not be opened by user ${readUsers().userName(process.geteuid?.() ?? 0)}, so neither can a gateway that runs as this user`,
        access(),
      )
    case SILENT:
      return fail(check, `${socket}: no answer within ${DOOR_MS / 1000} s`, silent)
    case GARBAGE:
      return fail(
        check,
        `what answers at ${socket} is no ${program}, or one that is broken`,
        `see which process it is ("ss -xlp src ${socket}"), and set ${ofGateway} to the ${ofProgram} of the ${program}`,
      )
    default:
      return fail(check, `${socket}: no answer (${failed})`, start)
  }
}

/** The members of an object that came as JSON. */
export type Members = Readonly<Record<string, unknown>>

export function isObject(value: unknown): value is Members {
  return typeof value === 'object' && value !== null
}

export function isText(value: unknown): value is string {
  return typeof value === 'string'
}

export function isNumber(value: unknown): value is number {
  return typeof value === 'number'
}

export function isListOf<T>(
  value: unknown,
  isOne: (one: unknown) => one is T,
): value is readonly T[] {
  return Array.isArray(value) && value.every(isOne)
}

export function isNullOr(value: unknown, isOne: (one: unknown) => boolean): boolean {
  return value === null || isOne(value)
}
