/** ttyd's page in a browser: typing, pasting, and reading what stands in the terminal. */
import type { Page } from 'playwright-core'
import { until } from './neighbour.ts'

// Runs in the page before ttyd's own script. It counts what the terminal's WebSockets deliver: messages that begin with
// "0" are output of the shell.
const COUNTING = `
  window.terminalTraffic = { sockets: 0, shells: 0, output: 0, letters: 0 }
  window.WebSocket = class extends WebSocket {
    constructor(...args) {
      super(...args)
      terminalTraffic.sockets++
      let isSilent = true
      this.addEventListener('message', ({ data }) => {
        const bytes = new Uint8Array(data)
        if (bytes[0] !== 0x30) return
        if (isSilent) terminalTraffic.shells++
        isSilent = false
        terminalTraffic.output += bytes.length - 1
        for (let i = 1; i < bytes.length; i++) if (bytes[i] === 0x79) terminalTraffic.letters++
      })
    }
  }`

/** What the terminal's WebSockets have delivered since the page was loaded. */
export interface Traffic {
  /** WebSockets opened by the page. */
  readonly sockets: number
  /** Those that have delivered output: a shell is there. */
  readonly shells: number
  /** Bytes of output. */
  readonly output: number
  /** How many of them are the letter y. */
  readonly letters: number
}

/** A terminal in a browser. */
export class TerminalPage {
  readonly page: Page

  private constructor(page: Page) {
    this.page = page
  }

  /** Opens /terminal in a page that is signed in, and waits for the shell's prompt. */
  static async open(page: Page, origin: string): Promise<TerminalPage> {
    await page.addInitScript(COUNTING)
    await page.goto(`${origin}/terminal`)
    const terminal = new TerminalPage(page)
    await terminal.ready()
    return terminal
  }

  /** Waits until a shell has said `$ `. @param shells how many the page has had since it was loaded, this one included */
  async ready(shells = 1): Promise<void> {
    await until('a shell', async () => (await this.traffic()).shells === shells)
    await this.shows(/\$ \s*$/, 'the prompt')
  }

  /** Everything in the terminal's buffer, line by line. */
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

  /** Waits until the terminal shows something. */
  async shows(pattern: RegExp, what = String(pattern), capMs = 60_000): Promise<RegExpExecArray> {
    return until(what, async () => pattern.exec(await this.text()), capMs)
  }

  /** Types a command and waits for its answer. */
  async ask(line: string, pattern: RegExp, capMs?: number): Promise<RegExpExecArray> {
    await this.command(line)
    return this.shows(pattern, `${pattern} after ${line}`, capMs)
  }

  /** Pastes text, with the event that the browser sends for Ctrl+V. */
  async paste(text: string): Promise<void> {
    await this.page.evaluate(`{
      const clipboardData = new DataTransfer()
      clipboardData.setData('text/plain', ${JSON.stringify(text)})
      document.querySelector('.xterm-helper-textarea').dispatchEvent(
        new ClipboardEvent('paste', { clipboardData, bubbles: true, cancelable: true }),
      )
    }`)
  }

  /** Rows and columns as the page has them. */
  async size(): Promise<string> {
    return this.page.evaluate<string>('`${window.term.rows} ${window.term.cols}`')
  }

  async traffic(): Promise<Traffic> {
    return this.page.evaluate<Traffic>('window.terminalTraffic')
  }
}
