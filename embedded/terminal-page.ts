/** What does a browser get from the built-in terminal? One page that contains all its scripts and styles. */
import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'

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
  return Buffer.from(`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Terminal</title>
<link rel="icon" href="data:,">
<style>${xtermStyle}</style>
<style>${style}</style>
</head>
<body>
<main id="terminal" aria-label="Terminal"></main>
<div id="notice" role="status" hidden></div>
<noscript><p>The terminal needs JavaScript.</p></noscript>
<script>${xterm}</script>
<script>${fit}</script>
<script type="module">${script}</script>
</body>
</html>
`)
}

/** Escapes text so that it cannot end its script or style element, and removes the link to a source map, which is not served. */
function inlined(text: string): string {
  return text.replace(/<\/(script|style)/gi, '<\\/$1').replace(/^\/\/# sourceMappingURL=.*$/m, '')
}
