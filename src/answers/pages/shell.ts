/**
 * What do all pages have in common? The head, the name of the workspace, the one stylesheet, and a policy under which nothing
 * runs and nothing loads that the page does not name.
 */
import { createHash, randomBytes } from 'node:crypto'
import { html, trusted, type Html } from '../html.ts'
import { ICON, BRAND } from './door.ts'
import { scriptPath, type ScriptName } from './scripts.ts'
import { STYLE } from './style.ts'

/** A formatter would add a blank, and the hash would be another's. */
const STYLE_ELEMENT = trusted(`<style>${STYLE}</style>`)
const STYLE_HASH = createHash('sha256').update(STYLE).digest('base64')

/**
 * The icon is inside the page, so that the browser does not request `/favicon.ico`. That request would count against the rate
 * limit and would go to the dashboard.
 */
const ICON_ADDRESS = `data:image/svg+xml,${encodeURIComponent(ICON)}`

/** What a page says. */
export interface PageContent {
  /** The title of the window and the heading. */
  readonly title: string
  readonly main: Html
  /** `card`: a few words and at most one form, in the middle of the window. `wide`: many things below each other. */
  readonly layout?: 'card' | 'wide'
  /** What stands in the bar at the top of a wide page, beside the name of the workspace. */
  readonly bar?: Html
  /** Seconds until the browser requests the same address again, by a meta element, which needs no script. */
  readonly reloadSeconds?: number | undefined
  /** The scripts that add comfort. The page works without them. */
  readonly scripts?: readonly ScriptName[]
}

/** A page, ready to be sent. */
export interface Page {
  readonly html: string
  /** Its Content-Security-Policy. */
  readonly policy: string
}

/** Whose pages they are. */
export interface PageSetting {
  /** Shown on each page, so that people with several workspaces know where they are. */
  readonly workspace: string
  /**
   * The origins besides our own to which a form may lead: browsers apply `form-action` to the redirects behind a form too
   * (Content Security Policy 3, section 6.4.2), and some of ours lead to the login page.
   */
  readonly formOrigins: readonly string[]
}

/** Builds the pages of one workspace. */
export class PageShell {
  readonly #workspace: string
  readonly #policy: string

  constructor({ workspace, formOrigins }: PageSetting) {
    this.#workspace = workspace
    this.#policy = [
      "default-src 'none'",
      `style-src 'sha256-${STYLE_HASH}'`,
      'img-src data:',
      ["form-action 'self'", ...formOrigins].join(' '),
      "base-uri 'none'",
      "frame-ancestors 'none'",
    ].join('; ')
  }

  /** Builds a page. */
  render(content: PageContent): Page {
    const { scripts = [] } = content
    if (scripts.length === 0) return { html: this.#document(content, ''), policy: this.#policy }
    // A nonce, because 'self' would also allow what the dashboard, which shares the origin, serves as a script.
    const nonce = randomBytes(16).toString('base64')
    const policy = `${this.#policy}; script-src 'nonce-${nonce}'; connect-src 'self'`
    return { html: this.#document(content, nonce), policy }
  }

  #document(
    { title, main, layout = 'card', bar, reloadSeconds, scripts = [] }: PageContent,
    nonce: string,
  ): string {
    const refresh =
      reloadSeconds === undefined
        ? undefined
        : html`<meta http-equiv="refresh" content="${reloadSeconds}" />`
    // A script knows better when, so the browser does it only where no script runs.
    const reload =
      nonce === '' || refresh === undefined ? refresh : html`<noscript>${refresh}</noscript>`
    const brand = html`<a class="brand" href="/">${BRAND}<bdi>${this.#workspace}</bdi></a>`
    const body =
      layout === 'card'
        ? html`<body class="narrow">
            <header>${brand}</header>
            <main>
              <h1>${title}</h1>
              ${main}
            </main>
          </body>`
        : html`<body class="wide">
            <a class="skip" href="#main">Skip to the content</a>
            <header class="top">${brand}${bar}</header>
            <main id="main" tabindex="-1">
              <h1>${title}</h1>
              ${main}
            </main>
          </body>`
    const modules = scripts.map(
      (name) => html`<script type="module" nonce="${nonce}" src="${scriptPath(name)}"></script>`,
    )
    return `<!doctype html>${
      html`<html lang="en">
        <head>
          <meta charset="utf-8" />
          <meta name="viewport" content="width=device-width,initial-scale=1" />
          <meta name="robots" content="noindex" />
          ${reload}
          <link rel="icon" href="${ICON_ADDRESS}" />
          <title>${title} &middot; ${this.#workspace}</title>
          ${STYLE_ELEMENT} ${modules}</head
        >${body}
      </html>`.text
    }\n`
  }
}
