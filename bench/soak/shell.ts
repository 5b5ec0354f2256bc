/** What does a page see of a terminal? What its shell writes, until the page leaves, or the terminal is closed. */
import { once } from 'node:events'
import { WebSocket, type RawData } from 'ws'
import { inTime } from './activity.ts'

/** The end of the screen that is kept, in characters. */
const KEPT = 20_000

/** A terminal with a page. */
export class Shell {
  readonly #socket: WebSocket
  #text = ''
  #closed: number | undefined
  #wake: () => void = () => {}

  private constructor(socket: WebSocket) {
    this.#socket = socket
    socket.on('message', (data: RawData) => {
      this.#text = (this.#text + (data as Buffer).toString('latin1')).slice(-KEPT)
      this.#wake()
    })
    socket.on('error', () => {}) // it is closed then
    socket.on('close', (code) => {
      this.#closed = code
      this.#wake()
    })
  }

  /** Opens the terminal of a tab, or comes back to it. */
  static async open(
    port: number,
    tab: string,
    headers: Readonly<Record<string, string>>,
  ): Promise<Shell> {
    const url = `ws://127.0.0.1:${port}/terminal/ws?tab=${tab}`
    const socket = new WebSocket(url, 'tty', { headers, perMessageDeflate: false })
    const shell = new Shell(socket)
    await inTime('a terminal', once(socket, 'open'))
    socket.send(JSON.stringify({ AuthToken: '', columns: 80, rows: 24 }))
    return shell
  }

  type(line: string): void {
    this.#socket.send(`0${line}\r`)
  }

  /** Waits until the shell has written something. @throws {Error} when it does not */
  async see(text: string): Promise<void> {
    await inTime(
      `"${text}" on the screen`,
      this.#until(() => this.#text.includes(text)),
    )
    if (!this.#text.includes(text)) throw new Error(`closed with ${this.#closed} before "${text}"`)
  }

  /** Leaves without a farewell, as a page does whose network is gone. */
  leave(): void {
    this.#socket.terminate()
  }

  /** Waits until the terminal was closed. @throws {Error} when that is with another code */
  async closed(code: number): Promise<void> {
    await inTime(
      `the end of a terminal with ${code}`,
      this.#until(() => false),
    )
    if (this.#closed !== code)
      throw new Error(`a terminal was closed with ${this.#closed}, not ${code}`)
  }

  async #until(isThere: () => boolean): Promise<void> {
    while (this.#closed === undefined && !isThere()) {
      const { promise, resolve } = Promise.withResolvers<void>()
      this.#wake = resolve
      await promise
    }
  }
}
