/** How do the tests run a real browser? They start Debian's Chromium, headless. */
import { chromium, type Browser, type BrowserContextOptions, type Page } from 'playwright-core'
import { installDebianPackage, run, type Started } from './neighbour.ts'

const PROGRAM = '/usr/bin/chromium'

const FLAGS = [
  '--no-sandbox', // Chromium refuses to run as root with its sandbox; it only opens pages of the tests
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  // Caddy's own authority is not trusted by default. This must be a flag, because service workers ignore the context's option.
  '--ignore-certificate-errors',
]

/** Installs Debian's package. */
export async function install(): Promise<string> {
  await installDebianPackage('chromium', PROGRAM)
  return /\d+(?:\.\d+)+/.exec(await run(PROGRAM, ['--version']))?.[0] ?? 'unknown'
}

/** A running browser. */
export interface Chromium extends Started {
  readonly browser: Browser
  /** Opens a page in a profile of its own, without cookies and cache. */
  open(options?: BrowserContextOptions): Promise<Page>
}

/** Starts Chromium. @param flags additional flags, such as `--host-resolver-rules=…` */
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

/** Signs in as a user does: on the built-in page, with a pasted token and the button. Ends on the page after the redirect. */
export async function signIn(page: Page, origin: string, token: string): Promise<void> {
  await page.goto(`${origin}/_gateway/sign-in`)
  await page.fill('input[name=token]', token)
  await page.click('button')
  await page.waitForURL((url) => url.origin === origin && url.pathname === '/')
}
