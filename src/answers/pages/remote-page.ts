/**
 * What does the remote page consist of before its script runs? A document without anything of the request, and a policy that permits its
 * one script and its one stylesheet by their addresses.
 */
import { html } from '../html.ts'
import { BRAND, ICON } from './door.ts'
import { REMOTE_PAGE } from './paths.ts'
import { REMOTE_BROWSER_NAMES } from './remote-browsers.ts'

/** The page, and the names of the two files that it loads from below {@link REMOTE_PAGE}. */
export interface RemotePageFiles {
  readonly script: string
  readonly style: string
}

const ICON_ADDRESS = `data:image/svg+xml,${encodeURIComponent(ICON)}`

/**
 * The document.
 * @param workspace shown until the page knows better: a link may be of another workspace
 */
export function remotePageHtml(workspace: string, { script, style }: RemotePageFiles): string {
  return `<!doctype html>${
    html`<html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta
          name="viewport"
          content="width=device-width,initial-scale=1,interactive-widget=resizes-content"
        />
        <meta name="robots" content="noindex" />
        <link rel="icon" href="${ICON_ADDRESS}" />
        <title>Remote &middot; ${workspace}</title>
        <link rel="stylesheet" href="${style}" />
        <script type="module" src="${script}"></script>
      </head>
      <body class="wide">
        <a class="skip" href="#main">Skip to the content</a>
        <header class="top">
          <span class="brand">${BRAND}<bdi id="workspace">${workspace}</bdi></span>
          <span id="connection" class="badge" role="status"></span>
        </header>
        <main id="main" tabindex="-1">
          <h1>Remote</h1>
          <p>
            Loading. If nothing happens for a minute, load the page again. Browsers older than
            ${REMOTE_BROWSER_NAMES} get no further.
          </p>
          <noscript>
            <p class="alert">
              This page encrypts everything in your browser, and needs JavaScript for that.
            </p>
          </noscript>
        </main>
      </body>
    </html>`.text
  }\n`
}

/**
 * The policy of the page (Content Security Policy 3). Script and stylesheet are permitted by their whole addresses: `'self'` would also
 * allow what the dashboard, which shares the origin, serves as a script. Relays are on any host, with TLS, or on this machine.
 * @param origin the page's own
 */
export function remotePagePolicy(origin: string, { script, style }: RemotePageFiles): string {
  return [
    "default-src 'none'",
    `script-src ${origin}${REMOTE_PAGE}${script}`,
    `style-src ${origin}${REMOTE_PAGE}${style}`,
    'img-src data:',
    'connect-src wss: ws://localhost:* ws://127.0.0.1:*',
    "form-action 'none'",
    "base-uri 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
  ].join('; ')
}
