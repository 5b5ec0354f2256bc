/**
 * Is a file being sent through the terminal? ttyd's page can speak ZMODEM (`sz`, `rz`) and trzsz (`tsz`, `trz`) with a program in
 * the shell. What the two say to each other is no text, and nothing of it may be left out.
 *
 * A transfer begins when the page says its first word of it, which it does only in answer to such a program: nothing that a shell
 * prints begins one. It ends when both have said good-bye, when one of them gives up, with a keystroke, which the page does not
 * send meanwhile, and when nobody has said anything for half a minute.
 */
import type { KeeperClock } from './clock.ts'

/** Cancels a ZMODEM transfer; the backspaces remove what a shell has taken for input (ZMODEM protocol reference, chapter 8.4). */
export const CANCEL = Buffer.from('\x18'.repeat(8) + '\b'.repeat(8))

/** Cancels a trzsz transfer: Ctrl-C. */
const INTERRUPT = Buffer.from('\x03')

/** What both sides of ZMODEM say at the end (ZFIN). The bytes of a file cannot contain it: CAN is escaped there. */
const GOOD_BYE = Buffer.from('**\x18B08')

/** What a side of ZMODEM says that gives up: five CAN. */
const GIVES_UP = Buffer.from('\x18\x18\x18\x18\x18')

/** The last word of the program that sends (`sz`), which the page does not show. */
const OVER_AND_OUT = 'OO'

const FIRST_WORD_TRZSZ = /^#ACT:[A-Za-z0-9+/=]{16,}\r?\n$/
const LAST_WORD_TRZSZ = /^#(?:EXIT|fail|FAIL):/

/** The longest first word of trzsz, in bytes. */
const MAX_FIRST_WORD_BYTES = 4096

/** After this time without a word from either side the transfer is over, in milliseconds. */
const SILENT_MS = 30_000

/** After a cancellation, what the program had sent before is dropped until it says nothing for this time, in milliseconds. */
const DROP_QUIET_MS = 300

/** And at most for this time, in milliseconds. */
const DROP_MS = 3000

/** How much of what was dropped is kept, since the prompt of the shell is at its end, in bytes. */
const MAX_TAIL_BYTES = 4096

const NOTHING = Buffer.alloc(0)

/** What a transfer needs. */
export interface TransferOptions {
  readonly clock: KeeperClock
  /** Called with what the shell printed behind a transfer that was cut off. */
  readonly onText: (text: Buffer) => void
}

/** The file transfers of one terminal. */
export class Transfer {
  readonly #clock: KeeperClock
  readonly #onText: (text: Buffer) => void
  /**
   * `none`: what the shell prints is text. `zmodem`, `trzsz`: it is not. `last-word`: the program's last two bytes are not.
   * `dropping`: the transfer was cut off, and what was under way is dropped.
   */
  #state: 'none' | 'zmodem' | 'trzsz' | 'last-word' | 'dropping' = 'none'
  #hasClientLeft = false
  #hasShellLeft = false
  /** The end of what the shell printed before, in which a word may have begun. */
  #before: Buffer = NOTHING
  #saidAt = 0
  #tail: Buffer = NOTHING
  #dropUntil = 0
  #timer: NodeJS.Timeout | undefined

  constructor({ clock, onText }: TransferOptions) {
    this.#clock = clock
    this.#onText = onText
  }

  /** Whether what the shell prints must go through {@link fromShell}. */
  get isActive(): boolean {
    return this.#state !== 'none'
  }

  /** Whether the client must get every byte. */
  get isOn(): boolean {
    return this.#state === 'zmodem' || this.#state === 'trzsz'
  }

  /** Whether the client gets nothing of what the shell prints. */
  get isDropping(): boolean {
    return this.#state === 'dropping'
  }

  /** Looks at what the client sends to the shell. @param input without the type of the message */
  fromClient(input: Buffer): void {
    if (this.#state === 'none' || this.#state === 'last-word') this.#perhapsBegin(input)
    else if (this.isOn) this.#answered(input)
  }

  /** Takes what the shell prints. @returns the part of it that is text, and belongs on the screen */
  fromShell(output: Buffer): Buffer {
    this.#saidAt = this.#clock.elapsed()
    switch (this.#state) {
      case 'none':
        return output
      case 'zmodem':
        return this.#fromZmodem(output)
      case 'trzsz':
        if (LAST_WORD_TRZSZ.test(output.toString('latin1', 0, 8))) this.#end()
        return NOTHING
      case 'last-word':
        this.#end()
        return output.subarray(output.toString('latin1', 0, 2) === OVER_AND_OUT ? 2 : 0)
      case 'dropping':
      default:
        this.#drop(output)
        return NOTHING
    }
  }

  /**
   * The client is gone. @returns what cancels the program in the shell; undefined when there was no transfer
   */
  cut(): Buffer | undefined {
    if (!this.isOn) return undefined
    const cancel = this.#state === 'zmodem' ? CANCEL : INTERRUPT
    this.#state = 'dropping'
    this.#tail = NOTHING
    this.#dropUntil = this.#clock.elapsed() + DROP_MS
    this.#timer = setTimeout(this.#stopDropping, DROP_QUIET_MS)
    return cancel
  }

  /** Ends a transfer in which nobody says anything. @param isHeld whether the shell is made to wait */
  check(isHeld: boolean): void {
    const now = this.#clock.elapsed()
    if (isHeld) this.#saidAt = now
    if (this.isOn && now - this.#saidAt >= SILENT_MS) this.#end()
  }

  /** Ends everything. */
  stop(): void {
    this.#end()
    clearTimeout(this.#timer)
  }

  #perhapsBegin(input: Buffer): void {
    if (isHeader(input)) this.#begin('zmodem')
    else if (input[0] === 0x23 && input.length <= MAX_FIRST_WORD_BYTES) {
      if (FIRST_WORD_TRZSZ.test(input.toString('latin1'))) this.#begin('trzsz')
    }
  }

  #begin(state: 'zmodem' | 'trzsz'): void {
    this.#state = state
    this.#saidAt = this.#clock.elapsed()
    this.#hasClientLeft = false
    this.#hasShellLeft = false
    this.#before = NOTHING
  }

  #answered(input: Buffer): void {
    this.#saidAt = this.#clock.elapsed()
    if (input.length === 1) this.#end()
    else if (this.#state === 'trzsz') {
      if (LAST_WORD_TRZSZ.test(input.toString('latin1', 0, 8))) this.#end()
    } else if (input.includes(GIVES_UP)) this.#end()
    else if (input.includes(GOOD_BYE)) {
      this.#hasClientLeft = true
      if (this.#hasShellLeft) this.#state = 'last-word'
    }
  }

  #fromZmodem(output: Buffer): Buffer {
    const before = this.#before.length
    const all = before === 0 ? output : Buffer.concat([this.#before, output])
    this.#before = Buffer.from(all.subarray(-(GOOD_BYE.length - 1)))
    const gaveUpAt = all.indexOf(GIVES_UP)
    if (gaveUpAt >= 0) {
      this.#end()
      return behind(all, gaveUpAt)
    }
    const leftAt = all.indexOf(GOOD_BYE)
    if (leftAt < 0) return NOTHING
    this.#hasShellLeft = true
    if (!this.#hasClientLeft) return NOTHING
    this.#end()
    const lineEnd = all.indexOf('\n', leftAt, 'latin1')
    const highLineEnd = all.indexOf(LINE_END_WITH_PARITY, leftAt)
    const ends = [lineEnd, highLineEnd].filter((end) => end >= 0)
    return ends.length === 0 ? NOTHING : all.subarray(Math.min(...ends) + 1)
  }

  #end(): void {
    this.#state = 'none'
    this.#before = NOTHING
    this.#tail = NOTHING
  }

  #drop(output: Buffer): void {
    this.#tail = Buffer.from(
      Buffer.concat([this.#tail, output.subarray(-MAX_TAIL_BYTES)]).subarray(-MAX_TAIL_BYTES),
    )
    if (this.#clock.elapsed() < this.#dropUntil) this.#timer?.refresh()
  }

  readonly #stopDropping = (): void => {
    if (this.#state !== 'dropping') return
    const text = textAtEnd(this.#tail)
    this.#end()
    this.#onText(text)
  }
}

/** The line feed at the end of a header has its highest bit set. */
const LINE_END_WITH_PARITY = Buffer.of(0x8a)

/** Whether a header of ZMODEM begins here: `*` or `**`, CAN, and its format. */
function isHeader(bytes: Buffer): boolean {
  const [first, second] = bytes
  if (first !== STAR) return false
  const at = second === STAR ? 2 : 1
  const format = bytes[at + 1] ?? 0
  return bytes[at] === CAN && format >= FORMAT_A && format <= FORMAT_C
}

const STAR = 0x2a
const CAN = 0x18
const FORMAT_A = 0x41
const FORMAT_C = 0x43

/** What follows a run of CAN and backspaces. */
function behind(output: Buffer, start: number): Buffer {
  let at = start
  while (output[at] === CAN || output[at] === 0x08) at++
  return output.subarray(at)
}

/** The text at the end of a transfer's bytes, the prompt of the shell for instance; empty when the end looks like no text. */
function textAtEnd(tail: Buffer): Buffer {
  let start = tail.length
  while (start > 0 && isText(tail[start - 1] as number)) start--
  const text = tail.subarray(start)
  const begin = text.findIndex((byte) => byte === 0x1b || byte === 0x0d || byte === 0x0a)
  return start === 0 || begin < 0 ? text : text.subarray(begin)
}

function isText(byte: number): boolean {
  return byte >= 0x20
    ? byte !== 0x7f
    : (byte >= 0x07 && byte <= 0x0d && byte !== 0x08) || byte === 0x1b
}
