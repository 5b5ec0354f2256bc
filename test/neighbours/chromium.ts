/** Real Chromium, headless. */
import { chromium, type Browser, type BrowserContextOptions, type Page } from 'playwright-core'
import { installDebianPackage, run, type Started } from './neighbour.ts'

const PROGRAM = '/usr/bin/chromium'

const FLAGS = [
  '--no-sandbox', // Chromium refuses to run as root with it, and here it only opens pages of the tests
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  // Caddy's own authority is on no list. Flag, not a context's option: service workers do not heed the option.
  '--ignore-certificate-errors',
]

/** Installs Debian's package. */
export async function install(): Promise<string> {
  await installDebianPackage('chromium', PROGRAM)
  return /\d+(?:\.\d+)+/.exec(await run(PROGRAM, ['--version']))?.[0] ?? 'unknown'
}

/** A browser that runs. */
export interface Chromium extends Started {
  readonly browser: Browser
  /** A page in a profile of its own: no cookies, no cache. */
  open(options?: BrowserContextOptions): Promise<Page>
}

/** Starts Chromium. @param flags in addition, such as `--host-resolver-rules=…` */
export async function startChromium(flags: readonly string[] = []): Promise<Chromium> {
  const args = [...FLAGS, ...flags]
  const browser = await chromium.launch({ executablePath: PROGRAM, args, timeout: 120_000 })
  return {
    browser,
    async open(options) {
      const context = await browser.newContext(options)
      context.setDefaultTimeout(60_000)
      return context.newPage()
    },
    stop: () => browser.close(),
  }
}

/** Signs in as a person does: the built-in page, a pasted token, the button. Ends where the gateway sends the browser. */
export async function signIn(page: Page, origin: string, token: string): Promise<void> {
  await page.goto(`${origin}/_gateway/sign-in`)
  await page.fill('input[name=token]', token)
  await page.click('button')
  await page.waitForURL((url) => url.origin === origin && url.pathname === '/')
}
