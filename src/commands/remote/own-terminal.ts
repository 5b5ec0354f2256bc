/**
 * How do `remote` and `pair` use the terminal that they were started in? They ask questions in it, and `remote` gives it to a shell elsewhere. Whatever happens,
 * the terminal is as before when the process ends.
 */
import { spawnSync } from 'node:child_process'
import { constants } from 'node:os'

/** The standard streams, or those of a test. */
export interface TerminalStreams {
  readonly stdin: NodeJS.ReadStream
  readonly stdout: NodeJS.WriteStream
}

/** The end of a line: while the terminal is taken, a line feed alone does not go back to the first column. */
export function lineEnd({ stdin }: TerminalStreams): string {
  return stdin.isRaw ? '\r\n' : '\n'
}

/** The error of a question that was answered with Ctrl-C or Ctrl-D. */
export class InterruptedError extends Error {}

/** Who has the terminal: each piece that is typed, and each change of its size. */
export interface TerminalUser {
  onTyped(bytes: Buffer): void
  onResize(): void
}

const CTRL_C = 0x03
const CTRL_D = 0x04
const BACKSPACE: readonly number[] = [0x08, 0x7f]
const ENTER: readonly number[] = [0x0a, 0x0d]
const FIRST_PRINTABLE = 0x20

/** Signals that would end this process while the terminal is not as before. */
const ENDING = ['SIGTERM', 'SIGHUP', 'SIGINT', 'SIGQUIT'] as const

/** The longest answer to a question, in bytes. */
const MAX_ANSWER_BYTES = 1024

/**
 * Undoes what a program of the shell may have left. Reports of mouse, focus and keys that stay on would be typed into the shell of this
 * machine.
 */
const RESET = [
  '\x18', // the end of a sequence that was cut
  '\x1b[?1047l\x1b[?25h', // alternate screen, hidden cursor
  '\x1b[?9l\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1004l\x1b[?1005l\x1b[?1006l\x1b[?1015l', // mouse, focus
  '\x1b[?2004l\x1b[?1l\x1b>\x1b[>4;0m', // bracketed paste, keypad, how keys are told
  '\x1b7\x1b[r\x1b[<9u\x1b8', // the part that scrolls, and keys once more: both may move the cursor
  '\x1b[4l\x1b[?7h\x1b(B\x0f\x1b[0m', // insertion, lines, characters, colours
].join('')

/** The terminal of the person who has started the command. */
export class OwnTerminal {
  readonly #streams: TerminalStreams
  #user: TerminalUser | undefined
  #isShellDisturbed = false
  readonly #onTyped = (bytes: Buffer) => this.#user?.onTyped(bytes)
  readonly #onResize = () => this.#user?.onResize()
  readonly #onContinued = () => {
    // A shell that stopped this process may have changed the mode.
    this.#makeRaw()
    this.#user?.onResize()
  }
  readonly #onEnding = (signal: NodeJS.Signals) => {
    this.release()
    process.exit(128 + constants.signals[signal])
  }
  readonly #onExit = () => this.release()

  constructor(streams: TerminalStreams) {
    this.#streams = streams
  }

  /** Whether both streams are a terminal. */
  get isThere(): boolean {
    return this.#streams.stdin.isTTY && this.#streams.stdout.isTTY
  }

  get columns(): number {
    return this.#streams.stdout.columns
  }

  get rows(): number {
    return this.#streams.stdout.rows
  }

  /** Gives every key to a user, until {@link release}. */
  take(user: TerminalUser): void {
    const isFirst = this.#user === undefined
    this.#user = user
    if (!isFirst) return
    const { stdin, stdout } = this.#streams
    this.#makeRaw()
    stdin.on('data', this.#onTyped)
    stdin.resume()
    stdout.on('resize', this.#onResize)
    process.on('exit', this.#onExit)
    process.on('SIGCONT', this.#onContinued)
    for (const signal of ENDING) process.on(signal, this.#onEnding)
  }

  /**
   * Nothing that is typed or shown may be changed on its way. Node leaves the terminal's own treatment of output on, which would move each
   * line feed of the shell's programs to the first column; stty turns it off. `setRawMode(false)` brings everything back.
   */
  #makeRaw(): void {
    const { stdin } = this.#streams
    stdin.setRawMode(true)
    spawnSync('stty', ['-opost'], { stdio: [stdin, 'ignore', 'ignore'] }) // without stty a few programs are shown wrongly
  }

  /** Makes the terminal as before. Does nothing when it is. */
  release(): void {
    if (this.#user === undefined) return
    this.#user = undefined
    const { stdin, stdout } = this.#streams
    if (this.#isShellDisturbed) stdout.write(RESET)
    this.#isShellDisturbed = false
    stdin.setRawMode(false)
    stdin.off('data', this.#onTyped)
    stdin.pause()
    stdout.off('resize', this.#onResize)
    process.off('exit', this.#onExit)
    process.off('SIGCONT', this.#onContinued)
    for (const signal of ENDING) process.off(signal, this.#onEnding)
  }

  /** Writes output of the shell. Resolves when the terminal has room for more. */
  async show(bytes: Uint8Array): Promise<void> {
    const { stdout } = this.#streams
    this.#isShellDisturbed = true
    const { promise, resolve } = Promise.withResolvers<void>()
    stdout.write(bytes, () => resolve())
    await promise
  }

  /** Says that the shell has ended by itself, so that its programs have cleaned up. */
  shellEnded(): void {
    this.#isShellDisturbed = false
  }

  /**
   * Asks a question.
   * @param isHidden whether what is typed is not shown; default: false
   * @param signal takes the question back
   * @throws {InterruptedError} for Ctrl-C, Ctrl-D on an empty line, and the signal
   */
  async ask(
    question: string,
    { isHidden = false, signal }: { isHidden?: boolean; signal?: AbortSignal } = {},
  ): Promise<string> {
    const { stdout } = this.#streams
    const { promise, resolve, reject } = Promise.withResolvers<string>()
    const typed: number[] = []
    this.take({
      onTyped(bytes) {
        for (const byte of bytes) {
          if (byte === CTRL_C || (byte === CTRL_D && typed.length === 0))
            reject(new InterruptedError('the question was not answered'))
          else if (ENTER.includes(byte)) resolve(Buffer.from(typed).toString('utf8'))
          else if (BACKSPACE.includes(byte)) {
            if (typed.pop() !== undefined && !isHidden) stdout.write('\b \b')
          } else if (byte >= FIRST_PRINTABLE && typed.length < MAX_ANSWER_BYTES) {
            typed.push(byte)
            if (!isHidden) stdout.write(Uint8Array.of(byte))
          }
        }
      },
      onResize() {},
    })
    signal?.addEventListener('abort', () =>
      reject(new InterruptedError('the question was taken back')),
    )
    // Asked when the terminal echoes nothing any more.
    stdout.write(question)
    try {
      return await promise
    } finally {
      this.release()
      stdout.write('\n')
    }
  }
}
