/**
 * How is the remote page built? esbuild bundles its script from `src/relay/page` with the protocol, the client and xterm.js; its
 * stylesheet is the one of the gateway's pages, that of xterm.js, and its own. The gateway reads both files on demand.
 */
import { randomBytes } from 'node:crypto'
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build, transform } from 'esbuild'
import { REMOTE_BROWSERS } from '../src/answers/pages/remote-browsers.ts'
import { ALWAYS_DARK, STYLE } from '../src/answers/pages/style.ts'

const root = fileURLToPath(new URL('..', import.meta.url))

const BROWSERS = REMOTE_BROWSERS.map(([name, , version]) => name + version)

/** Builds the page. @param folder gets `remote.js` and `remote.css`. Default: where the gateway looks when it runs from its sources */
export async function buildRemotePage(folder = join(root, 'dist/remote')): Promise<void> {
  const [script, style] = await Promise.all([buildScript(), buildStyle()])
  mkdirSync(folder, { recursive: true })
  replace(join(folder, 'remote.js'), script)
  replace(join(folder, 'remote.css'), style)
}

async function buildScript(): Promise<string> {
  const { outputFiles } = await build({
    absWorkingDir: root,
    entryPoints: ['src/relay/page/main.ts'],
    bundle: true,
    write: false,
    platform: 'browser',
    format: 'esm',
    target: BROWSERS,
    minify: true,
    legalComments: 'eof',
    logLevel: 'warning',
  })
  return outputFiles[0]?.text ?? ''
}

async function buildStyle(): Promise<string> {
  const xterm = readFileSync(
    fileURLToPath(import.meta.resolve('@xterm/xterm/css/xterm.css')),
    'utf8',
  )
  const own = readFileSync(join(root, 'src/relay/page/page.css'), 'utf8')
  const dark = ALWAYS_DARK.replace(':root', '.terminal-view')
  const { code } = await transform(STYLE + xterm + dark + own, {
    loader: 'css',
    target: BROWSERS,
    minify: true,
    legalComments: 'inline', // the licence of xterm.js
  })
  return code
}

/** Replaces a file at once, because a gateway may read it meanwhile. */
function replace(path: string, text: string): void {
  const draft = `${path}.${randomBytes(6).toString('hex')}`
  writeFileSync(draft, text)
  renameSync(draft, path)
}
