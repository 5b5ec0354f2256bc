/** How does `npm run relay:demo` play a phone? With a Chromium of this machine, of a phone's size, which does what a person would do. */
import { existsSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import type { Browser, Page } from 'playwright-core'

const PHONE = { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true }

/** What Chromium is called: on Linux, and on a Mac. */
const PROGRAMS = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable']
const MAC_PROGRAMS = [
  '/Applications/Chromium.app/Contents/MacOS/Chromium',
  '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome',
]

const FLAGS = ['--no-first-run', '--disable-background-networking', '--disable-sync']

/** How long a step may take, in milliseconds. */
const STEP_MS = 60_000
const LOOK_MS = 50

/** A phone. Its methods throw when what a person would see does not come. */
export interface Phone {
  /** What it is, for a person. */
  readonly name: string
  /** Opens a pairing link. @returns the code that it shows while it waits */
  pair(link: string, name: string): Promise<string>
  /** Waits until it is connected. @returns the services, and how they are */
  services(): Promise<string>
  /** Opens the terminal, and has it say a word. @param credential `user:password` of the terminal @returns the screen */
  echo(word: string, credential: string): Promise<string>
  /** Loads the page again, and waits until it is connected. */
  reload(): Promise<void>
  close(): Promise<void>
}

/** Starts a phone. @param options.isVisible whether it has a window @throws {Error} when this machine has no Chromium, or it does not start */
export async function openPhone({ isVisible }: { readonly isVisible: boolean }): Promise<Phone> {
  const executablePath = findChromium()
  // Loaded only now: a demo for the user's own browser works without it.
  const { chromium } = await import('playwright-core')
  const isRoot = process.getuid?.() === 0
  const browser = await chromium.launch({
    ...{ executablePath, headless: !isVisible, timeout: STEP_MS },
    // Chromium refuses to run as root with its sandbox. It opens pages of this workspace alone.
    args: isRoot ? [...FLAGS, '--no-sandbox'] : FLAGS,
    // Ctrl+C is for the whole demo, which closes the browser itself.
    ...{ handleSIGINT: false, handleSIGTERM: false, handleSIGHUP: false },
  })
  try {
    const page = await browser.newPage(PHONE)
    page.setDefaultTimeout(STEP_MS)
    return new ChromiumPhone(browser, page)
  } catch (error) {
    await browser.close()
    throw error
  }
}

/** @throws {Error} when there is none */
function findChromium(): string {
  const folders = (process.env['PATH'] ?? '').split(delimiter)
  const places = PROGRAMS.flatMap((name) => folders.map((folder) => join(folder, name)))
  const found = [...places, ...MAC_PROGRAMS].find((path) => existsSync(path))
  if (found === undefined)
    throw new Error('neither Chromium nor Chrome was found on the PATH of this machine')
  return found
}

class ChromiumPhone implements Phone {
  readonly #browser: Browser
  readonly #page: Page

  constructor(browser: Browser, page: Page) {
    this.#browser = browser
    this.#page = page
  }

  get name(): string {
    const { width, height } = PHONE.viewport
    return `Chromium ${this.#browser.version().split('.', 1)[0]}, ${width} x ${height}`
  }

  async pair(link: string, name: string): Promise<string> {
    await this.#page.goto(link)
    await this.#page.getByLabel('Name of this device').fill(name)
    await this.#press('Pair')
    return (await this.#page.locator('.comparison').textContent()) ?? ''
  }

  async services(): Promise<string> {
    const list = this.#page.locator('#services li:has(.badge)')
    await list.first().waitFor()
    return (await list.allTextContents()).join(', ')
  }

  async echo(word: string, credential: string): Promise<string> {
    const [user = '', ...password] = credential.split(':')
    await this.#press('Open the terminal')
    await this.#page.getByLabel('User').fill(user)
    await this.#page.getByLabel('Password').fill(password.join(':'))
    await this.#press('Open the terminal')
    await this.#shows(/\S/) // the prompt
    await this.#page.keyboard.type(`echo ${word}\n`)
    // The answer on a line of its own, and a prompt after it.
    return await this.#shows(new RegExp(String.raw`^${word}\s*\n.*\S`, 'm'))
  }

  async reload(): Promise<void> {
    await this.#page.reload()
    await this.services()
  }

  async close(): Promise<void> {
    await this.#browser.close()
  }

  async #press(name: string): Promise<void> {
    await this.#page.getByRole('button', { name, exact: true }).click()
  }

  /** Waits until the terminal's screen looks like something. */
  async #shows(pattern: RegExp): Promise<string> {
    const until = performance.now() + STEP_MS
    let screen = ''
    while (performance.now() < until) {
      screen = await this.#page.locator('.xterm-rows').innerText()
      if (pattern.test(screen)) return screen.trimEnd()
      await this.#page.waitForTimeout(LOOK_MS)
    }
    throw new Error(`The terminal of the phone shows something else:\n${screen}`)
  }
}
