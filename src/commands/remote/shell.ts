/** How does a shell of the workspace run in the terminal of this machine? Each key goes there, and its output comes here. */
import { EXIT } from '../../process/exit-codes.ts'
import type { RemoteConnection } from '../../relay/client/connection.ts'
import { RefusedError } from '../../relay/client/device-session.ts'
import { RemoteError } from '../../relay/client/remote-error.ts'
import {
  openTerminal,
  TerminalWantsError,
  type RemoteTerminal,
  type TerminalEnd,
  type TerminalOptions,
} from '../../relay/client/terminal.ts'
import { NOT_AUTHENTICATED } from '../../http/ttyd-protocol.ts'
import { randomBytes, toBase64Url } from '../../relay/protocol/bytes.ts'
import { CommandError } from '../owner.ts'
import { messageText } from '../printable.ts'
import { failureOf, type Say } from './connect.ts'
import { EscapeReader } from './escape.ts'
import { InterruptedError, type OwnTerminal } from './own-terminal.ts'

/** Wrong answers to one question, after which the command ends. */
const MAX_WRONG = 3

/** The pauses before a shell that was lost is opened again, in milliseconds. After the last one the command gives up. */
const PAUSES_MS = [100, 500, 1000, 2000, 4000, 8000]

/** A shell that was there for so long was a good one: when it is lost, all pauses are there again. In milliseconds. */
const STABLE_MS = 10_000

const CTRL_C = 0x03
const CTRL_D = 0x04

type Password = NonNullable<TerminalOptions['password']>

/** Runs a shell to its end. @throws {CommandError} when it cannot be opened, or is lost for good */
export async function runShell(
  remote: RemoteConnection,
  own: OwnTerminal,
  say: Say,
): Promise<void> {
  const shell = new Shell(remote, own, say)
  try {
    await shell.run()
  } catch (error) {
    throw error instanceof InterruptedError
      ? new CommandError('ended by you', EXIT.failed, { cause: error })
      : failureOf(error)
  } finally {
    own.release()
  }
}

class Shell {
  readonly #remote: RemoteConnection
  readonly #own: OwnTerminal
  readonly #say: Say
  /** By which a keeper of terminals knows the shell again. */
  readonly #tab = toBase64Url(randomBytes(16))
  #credentials: Password | undefined
  #wrong = 0
  #lost = 0

  constructor(remote: RemoteConnection, own: OwnTerminal, say: Say) {
    this.#remote = remote
    this.#own = own
    this.#say = say
  }

  async run(): Promise<void> {
    let openedAt: number | undefined
    for (;;) {
      const end = await this.#once(() => (openedAt = performance.now()))
      if (end === 'left') return
      if (end instanceof TerminalWantsError) await this.#answer(end)
      else if (!(end instanceof RemoteError) && end.code === NOT_AUTHENTICATED)
        this.#wrongPassword()
      else if (!(end instanceof RemoteError) && end.isOver) return
      else {
        if (openedAt === undefined) throw end instanceof RemoteError ? end : lostAtOnce(end)
        if (performance.now() - openedAt >= STABLE_MS) this.#lost = 0
        await this.#pause(end)
      }
    }
  }

  /** Opens the terminal, and stays in it. @returns how it ended, or why there is none */
  async #once(onOpen: () => void): Promise<TerminalEnd | 'left' | RemoteError> {
    const ended = Promise.withResolvers<TerminalEnd | 'left'>()
    const options = {
      ...{ columns: this.#own.columns, rows: this.#own.rows },
      ...{ password: this.#credentials, tab: this.#tab },
      onOutput: (bytes: Uint8Array) => this.#own.show(bytes),
      onClose: (end: TerminalEnd) => ended.resolve(end),
    }
    let terminal: RemoteTerminal
    try {
      await this.#remote.whenOpen()
      terminal = await openTerminal(this.#remote, options)
    } catch (error) {
      if (error instanceof RemoteError && this.#remote.state.kind !== 'ended') return error
      throw error
    }
    onOpen()
    this.#wrong = 0
    const escape = new EscapeReader()
    this.#own.take({
      onTyped: (typed) => {
        const { bytes, isLeaving } = escape.read(typed)
        if (bytes.length > 0) terminal.input(bytes)
        if (isLeaving) ended.resolve('left')
      },
      onResize: () => terminal.resize(this.#own.columns, this.#own.rows),
    })
    const end = await ended.promise
    terminal.close()
    if (end !== 'left' && end.isOver) this.#own.shellEnded()
    return end
  }

  /** Asks the person for what the terminal wants. */
  async #answer({ want, message }: TerminalWantsError): Promise<void> {
    this.#own.release()
    if (want === 'password') {
      if (this.#credentials !== undefined) this.#wrongPassword()
      const user = await this.#own.ask('User of the terminal: ')
      const password = await this.#own.ask('Password of the terminal: ', { isHidden: true })
      this.#credentials = { user, password }
      return
    }
    this.#say(messageText(message))
    const code = await this.#own.ask('Code of the authenticator app, or a backup code: ')
    try {
      await this.#remote.showFactor(code.trim())
    } catch (error) {
      if (!(error instanceof RefusedError)) throw error
      this.#countWrong(error)
    }
  }

  #wrongPassword(): void {
    this.#own.release()
    this.#credentials = undefined
    this.#countWrong(new RemoteError('refused', 'the terminal refuses this password'))
  }

  #countWrong(error: RemoteError): void {
    if (++this.#wrong >= MAX_WRONG) throw error
    this.#say(messageText(error.message))
  }

  /** Waits before the shell is opened again. Ctrl-C ends that. */
  async #pause(end: TerminalEnd | RemoteError): Promise<void> {
    const pause = PAUSES_MS[this.#lost++]
    if (pause === undefined) throw end instanceof RemoteError ? end : lostAtOnce(end)
    this.#say('the connection to the shell was lost; opening it again (Ctrl-C ends)')
    const interrupted = Promise.withResolvers<never>()
    this.#own.take({
      onTyped(typed) {
        if (typed.includes(CTRL_C) || typed.includes(CTRL_D))
          interrupted.reject(new InterruptedError('the connection was given up'))
      },
      onResize() {},
    })
    const { promise, resolve } = Promise.withResolvers<void>()
    const timer = setTimeout(resolve, pause)
    try {
      await Promise.race([promise, interrupted.promise])
      await Promise.race([this.#remote.whenOpen(), interrupted.promise])
    } finally {
      clearTimeout(timer)
    }
  }
}

function lostAtOnce({ code, reason }: TerminalEnd): RemoteError {
  return new RemoteError('cut', `the shell was lost (${code}${reason === '' ? '' : `, ${reason}`})`)
}
