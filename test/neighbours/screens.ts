/**
 * Does a page show exactly what a page would that was never cut? A second page of ttyd, whose WebSocket the test plays, gets all
 * that the shell has printed, and both are compared cell by cell.
 */
import type { Page } from 'playwright-core'
import type { Chromium } from './chromium.ts'
import { until } from './neighbour.ts'
import type { TappedShell } from './shell-tap.ts'
import type { TerminalPage } from './terminal-page.ts'
import * as ttyd from './ttyd.ts'

/** What a terminal shows. */
export interface Shown {
  /** Each line of scrollback and screen: its cells, with colours and attributes where they change. */
  readonly lines: readonly string[]
  /** Cursor, modes, buffer and size. */
  readonly state: Readonly<Record<string, unknown>>
}

// Runs in the page. A blank that was written and a cell that was not look the same.
// Only the last lines are read: a thousand take a while.
const look = (last: number) => `(() => {
  const { buffer, modes, cols, rows } = window.term
  const { active } = buffer
  const cell = active.getNullCell()
  const lines = []
  for (let y = Math.max(0, active.length - ${last}); y < active.length; y++) {
    const line = active.getLine(y)
    let text = y > 0 && line.isWrapped ? '~' : '' // of the first line nobody can see that it goes on
    let last = ''
    for (let x = 0; x < cols; x++) {
      line.getCell(x, cell)
      const chars = cell.getChars() || (cell.getWidth() === 0 ? '' : ' ')
      const isBlank = chars === ' ' && !cell.isUnderline() && !cell.isInverse() && !cell.isStrikethrough() && !cell.isOverline()
      const style = [
        isBlank ? '' : [cell.getFgColorMode(), cell.getFgColor(), cell.isBold(), cell.isItalic(), cell.isDim(), cell.isBlink(), cell.isInvisible()].join(),
        cell.getBgColorMode(), cell.getBgColor(), cell.isInverse(), cell.isUnderline(), cell.isStrikethrough(), cell.isOverline(),
      ].join()
      if (style !== last) text += '{' + style + '}'
      last = style
      text += cell.getWidth() === 2 ? chars + '»' : chars
    }
    lines.push(text)
  }
  const core = window.term._core
  return {
    lines,
    state: {
      ...{ cols, rows, buffer: active.type, cursorX: active.cursorX, cursorY: active.cursorY },
      baseY: active.baseY,
      length: active.length,
      isCursorHidden: core.coreService.isCursorHidden,
      ...modes,
    },
  }
})()`

// Runs before ttyd's script: its WebSocket is played by the test. The bytes come as base64.
const PLAYED = `
  window.WebSocket = class extends EventTarget {
    static OPEN = 1
    readyState = 1
    constructor() {
      super()
      window.played = this
      queueMicrotask(() => this.dispatchEvent(new Event('open')))
    }
    send() {}
    close() {}
  }
  window.play = async (messages) => {
    for (const message of messages) {
      const bytes = Uint8Array.from(atob(message), (one) => one.charCodeAt(0))
      window.played.dispatchEvent(new MessageEvent('message', { data: bytes.buffer }))
    }
    await new Promise((resolve) => window.term.write('', resolve))
  }`

/** How many messages are sent to the page at once. */
const AT_ONCE = 500

/** What a page shows now. @param last how many lines, from the end */
function shownIn(page: Page, last = Infinity): Promise<Shown> {
  return page.evaluate<Shown>(look(last))
}

/** A page that shows what a shell has printed since it began, without a cut. */
export class UncutPage {
  readonly page: Page
  readonly #shell: TappedShell
  #played = 0

  private constructor(page: Page, shell: TappedShell) {
    this.page = page
    this.#shell = shell
  }

  /** Opens one. @param like the page of the shell, of which it gets the size @param ttydUrl of any ttyd */
  static async open(
    browser: Chromium,
    { shell, like, ttydUrl }: { shell: TappedShell; like: Page; ttydUrl: string },
  ): Promise<UncutPage> {
    const viewport = like.viewportSize() ?? { width: 1280, height: 720 }
    const page = await browser.open({ httpCredentials: ttyd.CREDENTIAL, viewport })
    await page.addInitScript(PLAYED)
    await page.goto(`${ttydUrl}/terminal/`)
    await until('the page', () => page.evaluate<boolean>('window.played !== undefined'))
    return new UncutPage(page, shell)
  }

  /** Shows everything that the shell has printed until now. */
  async show(last = Infinity): Promise<Shown> {
    while (this.#played < this.#shell.messages.length) {
      const some = this.#shell.messages.slice(this.#played, this.#played + AT_ONCE)
      this.#played += some.length
      const messages = some.map((message) => message.toString('base64'))
      await this.page.evaluate(`window.play(${JSON.stringify(messages)})`)
    }
    return shownIn(this.page, last)
  }

  close(): Promise<void> {
    return this.page.context().close()
  }
}

/** How two terminals differ, with the first lines that do; an empty list when they are the same. */
function differences(shown: Shown, uncut: Shown): string[] {
  const found: string[] = []
  for (const key of new Set([...Object.keys(shown.state), ...Object.keys(uncut.state)]))
    if (JSON.stringify(shown.state[key]) !== JSON.stringify(uncut.state[key]))
      found.push(`${key}: ${String(shown.state[key])} instead of ${String(uncut.state[key])}`)
  const [fromEnd, wanted] = [shown.lines.toReversed(), uncut.lines.toReversed()]
  for (let i = 0; i < Math.min(fromEnd.length, wanted.length) && found.length < 8; i++)
    if (fromEnd[i] !== wanted[i])
      found.push(
        `line ${i} from the end: ${JSON.stringify(fromEnd[i])} instead of ${JSON.stringify(wanted[i])}`,
      )
  return found
}

/**
 * Waits until a page is connected, and shows the same as one that was never cut. When it waits for Enter, that is pressed.
 * @param last how many lines are compared, from the end
 * @returns how they differ, if they do not become the same
 */
export async function comparedWith(
  uncut: UncutPage,
  page: Page,
  { last = Infinity, capMs = 20_000 }: { last?: number; capMs?: number } = {},
): Promise<string[]> {
  let found: string[] = ['nothing was compared']
  await until(
    'the same screen',
    async () => {
      const isOpen = await page.evaluate<boolean>('window.terminalTraffic.isOpen')
      const wanted = await uncut.show(last)
      found = isOpen ? differences(await shownIn(page, last), wanted) : ['it is not connected']
      if (found.length > 0) await enterIfAsked(page)
      return found.length === 0
    },
    capMs,
  ).catch(() => {})
  return found
}

/**
 * Waits until a page has connected again, also when it waits for Enter. A page that has not heard yet that its connection has ended
 * would pass for one that is back, and what is typed into it would be lost.
 * @param sockets the number of WebSockets since the page was loaded, before the connection ended
 */
export async function nextConnection(terminal: TerminalPage, sockets: number): Promise<void> {
  await until('the next connection', async () => {
    await enterIfAsked(terminal.page)
    const now = await terminal.traffic()
    return now.sockets > sockets && now.isOpen
  })
}

/** Presses Enter when ttyd's page asks for it, because its single attempt to connect again has failed. */
export async function enterIfAsked(page: Page): Promise<void> {
  if (await page.getByText('to Reconnect').isVisible()) await page.keyboard.press('Enter')
}
