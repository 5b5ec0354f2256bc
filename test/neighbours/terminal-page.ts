/** How do the tests use ttyd's page in a browser? They type, paste, and read the terminal's buffer. */
import type { Page } from 'playwright-core'
import { until } from './neighbour.ts'

// Runs in the page before ttyd's own script. It counts the messages of the terminal's WebSockets. A message that begins with
// "0" is output of the shell.
const COUNTING = `
  window.terminalTraffic = { sockets: 0, shells: 0, output: 0, letters: 0, isOpen: false, closedAt: 0, backMs: 0 }
  window.WebSocket = class extends WebSocket {
    constructor(...args) {
      super(...args)
      terminalTraffic.sockets++
      this.addEventListener('close', () => {
        terminalTraffic.isOpen = false
        terminalTraffic.closedAt = performance.now()
      })
      let isSilent = true
      this.addEventListener('message', ({ data }) => {
        const bytes = new Uint8Array(data)
        if (bytes[0] !== 0x30) return
        if (isSilent) terminalTraffic.shells++
        if (isSilent) terminalTraffic.backMs = Math.round(performance.now() - terminalTraffic.closedAt)
        terminalTraffic.isOpen = true
        isSilent = false
        terminalTraffic.output += bytes.length - 1
        for (let i = 1; i < bytes.length; i++) if (bytes[i] === 0x79) terminalTraffic.letters++
      })
    }
  }`

/** The counts of the terminal's WebSockets since the page was loaded. */
export interface Traffic {
  /** The number of WebSockets that the page opened. */
  readonly sockets: number
  /** The number of them with output, and so with a shell. */
  readonly shells: number
  /** The bytes of output. */
  readonly output: number
  /** From the end of the one before to the last one's first output, in milliseconds. */
  readonly backMs: number
  /** Whether the last one is open, and a shell has printed something. */
  readonly isOpen: boolean
  /** The number of these bytes that are the letter y. */
  readonly letters: number
}

/** A terminal in a browser. */
export class TerminalPage {
  readonly page: Page

  private constructor(page: Page) {
    this.page = page
  }

  /** Opens a terminal in a signed-in page, and waits for the shell's prompt. @param path by default that of a new terminal */
  static async open(page: Page, origin: string, path = '/terminal'): Promise<TerminalPage> {
    await page.addInitScript(COUNTING)
    await page.goto(`${origin}${path}`)
    const terminal = new TerminalPage(page)
    await terminal.ready()
    return terminal
  }

  /** Waits for a shell's prompt `$ `. @param shells the number of shells since the page was loaded, including this one */
  async ready(shells = 1): Promise<void> {
    await until('a shell', async () => (await this.traffic()).shells === shells)
    await this.prompts()
  }

  /** Waits for a prompt at the end. */
  async prompts(): Promise<void> {
    await this.shows(/\$ \s*$/, 'the prompt')
  }

  /**
   * Waits until the page has connected again without a key.
   * @param sockets the number of WebSockets since the page was loaded, including this one
   * @returns how long it was without a connection, in milliseconds
   */
  async isBack(sockets: number): Promise<number> {
    await until('the page to be back by itself', async () => {
      const now = await this.traffic()
      return now.sockets >= sockets && now.isOpen
    })
    return (await this.traffic()).backMs
  }

  /** The lines of the terminal's buffer. */
  async text(): Promise<string> {
    return this.page.evaluate<string>(`(() => {
      const { active } = window.term.buffer
      return Array.from({ length: active.length }, (_, i) => active.getLine(i).translateToString(true)).join('\\n')
    })()`)
  }

  async type(text: string): Promise<void> {
    await this.page.locator('.xterm-helper-textarea').focus()
    await this.page.keyboard.type(text)
  }

  /** Types a command and Enter. */
  async command(line: string): Promise<void> {
    await this.type(line)
    await this.page.keyboard.press('Enter')
  }

  /** Waits until the terminal shows a text. */
  async shows(pattern: RegExp, what = String(pattern), capMs = 60_000): Promise<RegExpExecArray> {
    return until(what, async () => pattern.exec(await this.text()), capMs)
  }

  /** Types a command and waits for its output. */
  async ask(line: string, pattern: RegExp, capMs?: number): Promise<RegExpExecArray> {
    await this.command(line)
    return this.shows(pattern, `${pattern} after ${line}`, capMs)
  }

  /** Pastes text with the event that a browser fires for Ctrl+V. */
  async paste(text: string): Promise<void> {
    await this.page.evaluate(`{
      const clipboardData = new DataTransfer()
      clipboardData.setData('text/plain', ${JSON.stringify(text)})
      document.querySelector('.xterm-helper-textarea').dispatchEvent(
        new ClipboardEvent('paste', { clipboardData, bubbles: true, cancelable: true }),
      )
    }`)
  }

  /** The rows and columns of the terminal in the page. */
  async size(): Promise<string> {
    return this.page.evaluate<string>('`${window.term.rows} ${window.term.cols}`')
  }

  async traffic(): Promise<Traffic> {
    return this.page.evaluate<Traffic>('window.terminalTraffic')
  }
}
