/** What does a browser get from the built-in terminal? One page that contains all its scripts and styles. */
import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { html } from '../src/answers/html.ts'
import { BRAND } from '../src/answers/pages/door.ts'
import { ALWAYS_DARK, TOKENS } from '../src/answers/pages/style.ts'
import { ARROW_KEYS, SIGN_KEYS, terminalKeys } from '../src/answers/scripts/terminal-keys.ts'

/** The way back and the way out. They come first, so that a screen reader meets them before the terminal. */
const WAYS = html`<header>
  <h1 class="hidden">Terminal</h1>
  <a href="/" id="back">${BRAND}Dashboard</a>
  <a href="/_gateway/">Account</a>
  <span id="leave">Shift+Esc leaves the terminal</span>
  <form method="post" action="/_gateway/sign-out"><button>Sign out</button></form>
</header>`

/** The keys that a phone's keyboard lacks, or hides: the character that each types, what it shows, and its name. */
const KEYS = [
  ['\u001B', 'Esc'],
  ['\t', 'Tab'],
  ['\u0003', '^C', 'Control C'],
] as const

const key = ([character, label, name]: readonly [string, string, string?]) =>
  html`<button type="button" data-code="${character.charCodeAt(0)}" aria-label="${name ?? label}">
    ${label}
  </button>`
const arrow = ([letter, label, name]: readonly [string, string, string]) =>
  html`<button type="button" data-arrow="${letter}" aria-label="${name}">${label}</button>`

const ROW = html`<div id="keys" role="group" aria-label="Keys">
  <button type="button" id="ctrl" aria-pressed="false">Ctrl</button>
  ${KEYS.map(key)}${ARROW_KEYS.map(arrow)}${SIGN_KEYS.map(key)}
</div>`

/**
 * Builds the page, with xterm.js and the styles inlined.
 *
 * The page needs one request instead of five, because requests below `/terminal` can count against the client's ten per minute.
 */
export async function buildTerminalPage(): Promise<Buffer> {
  const [xtermStyle, style, xterm, fit, script] = await Promise.all(
    [
      import.meta.resolve('@xterm/xterm/css/xterm.css'),
      new URL('assets/terminal.css', import.meta.url).href,
      import.meta.resolve('@xterm/xterm/lib/xterm.js'),
      import.meta.resolve('@xterm/addon-fit/lib/addon-fit.js'),
      new URL('assets/terminal.js', import.meta.url).href,
    ].map(async (url) => inlined(await readFile(fileURLToPath(url), 'utf8'))),
  )
  const head = html`<meta charset="utf-8" />
    <meta name="viewport" content="width=device-width, initial-scale=1" />
    <title>Terminal</title>
    <link rel="icon" href="data:," />`
  const body = html`${WAYS}
    <main>
      <div id="screen">
        <div id="terminal"></div>
        <div id="notice" role="status" hidden></div>
        <noscript><p>The terminal needs JavaScript.</p></noscript>
      </div>
      ${ROW}
    </main>`
  return Buffer.from(`<!doctype html>
<html lang="en">
<head>
${head.text}
<style>${xtermStyle}</style>
<style>${TOKENS}${ALWAYS_DARK}${style}</style>
</head>
<body>
${body.text}
<script>${xterm}</script>
<script>${fit}</script>
<script>${inlined(terminalKeys.toString())}</script>
<script type="module">${script}</script>
</body>
</html>
`)
}

/** Escapes text so that it cannot end its script or style element, and removes the link to a source map, which is not served. */
function inlined(text: string): string {
  return text.replace(/<\/(script|style)/gi, '<\\/$1').replace(/^\/\/# sourceMappingURL=.*$/m, '')
}
