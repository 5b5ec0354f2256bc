/**
 * What does the gateway say to the person at a terminal? That the session ends soon, that it has ended, or that the gateway
 * restarts: one line each, in a message of ttyd's own protocol, because ttyd's page shows no close reason.
 */
import { binaryMessage } from '../http/frames.ts'
import type { Session } from '../identity/session.ts'
import { RESTARTING, SESSION_ENDED, type CloseReason } from '../answers/close-reasons.ts'

/** How long before the end of a session its terminals say so, in milliseconds. */
const REMINDER_MS = 600_000

/**
 * A terminal that prints without a pause gets its reminder this long before the end, in milliseconds. Before that, the reminder
 * waits for a pause, because it could fall into the middle of a file transfer or of an escape sequence.
 */
const LAST_REMINDER_MS = 300_000

/**
 * What the person may expect when the gateway ends. It cannot know whether the keeper of terminals ends next, as when a deploy
 * replaces the machine, and so it does not promise the shell for that case. After a gap, ttyd's page waits for Enter.
 */
const KEPT =
  'Your shell is kept unless the whole workspace stops. If this page does not come back by itself, press Enter or reload it.'
const NOT_KEPT = 'Reconnect in a few seconds.'

/** The lines of one terminal's WebSocket. */
export class TerminalLines {
  readonly #origin: string
  readonly #session: Session
  /** Whether the shell waits for its page when the connection ends, because a keeper of terminals holds it. */
  readonly isKept: boolean
  /** The end for which the person was reminded, in milliseconds since 1970. A renewal moves the end. */
  #remindedOf: number | undefined

  /**
   * @param origin the web origin at which the client reached the workspace
   * @param isKept whether a keeper of terminals holds the shell
   */
  constructor(origin: string, session: Session, isKept: boolean) {
    this.#origin = origin
    this.#session = session
    this.isKept = isKept
  }

  /** The last message before the gateway closes the socket; undefined when the reason does not concern the person. */
  farewell({ code }: CloseReason): Buffer | undefined {
    if (code === SESSION_ENDED.code)
      return line(`Your session has ended. Sign in again at ${this.#origin}/_gateway/sign-in`)
    if (code === RESTARTING.code)
      return line(`The workspace's door restarts. ${this.isKept ? KEPT : NOT_KEPT}`)
    return undefined
  }

  /**
   * The reminder that the session ends soon, once for each end; undefined when none is due. Programs get none, because they
   * cannot renew their session.
   * @param wallClock milliseconds since 1970
   * @param isQuiet whether the terminal has printed nothing for a moment
   */
  reminder(wallClock: number, isQuiet: boolean): Buffer | undefined {
    const { kind, endsAt } = this.#session
    const left = endsAt - wallClock
    if (kind !== 'browser' || left > REMINDER_MS || this.#remindedOf === endsAt) return undefined
    if (!isQuiet && left > LAST_REMINDER_MS) return undefined
    this.#remindedOf = endsAt
    const minutes = Math.max(1, Math.round(left / 60_000))
    const when = minutes === 1 ? 'a minute' : `${minutes} minutes`
    return line(`Your session ends in ${when}. Stay signed in: ${this.#origin}/_gateway/renew`)
  }
}

/** A line in ttyd's protocol: a server's message that begins with "0" is output of the shell. */
function line(text: string): Buffer {
  return binaryMessage(Buffer.from(`0\r\n${text}\r\n`))
}
