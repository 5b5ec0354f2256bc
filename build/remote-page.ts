/**
 * How is the remote page built? esbuild bundles its script from `src/relay/page` with the protocol, the client and xterm.js; its
 * stylesheet is the one of the gateway's pages, that of xterm.js, and its own. Both are compressed here, once, because a phone may be far
 * away. The gateway reads the files on demand.
 */
import { randomBytes } from 'node:crypto'
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { brotliCompressSync, gzipSync } from 'node:zlib'
import { build, transform } from 'esbuild'
import { remoteFileName } from '../routes/remote-files.ts'
import { REMOTE_BROWSERS } from '../src/answers/pages/remote-browsers.ts'
import { ALWAYS_DARK, STYLE } from '../src/answers/pages/style.ts'

const root = fileURLToPath(new URL('..', import.meta.url))

const BROWSERS = REMOTE_BROWSERS.map(([name, , version]) => name + version)

/** Builds the page. @param folder gets `remote.js` and `remote.css`, and each compressed. Default: where the gateway looks when it runs from its sources */
export async function buildRemotePage(folder = join(root, 'dist/remote')): Promise<void> {
  const [script, style] = await Promise.all([buildScript(), buildStyle()])
  mkdirSync(folder, { recursive: true })
  const written = [write(folder, 'remote.js', script), write(folder, 'remote.css', style)].flat()
  for (const name of readdirSync(folder))
    if (/^remote-.*\.(?:gz|br)$/.test(name) && !written.includes(name))
      rmSync(join(folder, name), { force: true })
}

/**
 * Writes a file, and what it is compressed. Brotli, in its best quality by default, is a sixth shorter than gzip for these.
 * @returns the names of what is compressed, which follow from the text: the gateway sends nothing of another build
 */
function write(folder: string, name: string, text: string): readonly string[] {
  const own = remoteFileName(name, text)
  const coded = [
    [`${own}.gz`, gzipSync(text, { level: 9 })],
    [`${own}.br`, brotliCompressSync(text)],
  ] as const
  for (const [twin, bytes] of coded) replace(join(folder, twin), bytes)
  replace(join(folder, name), text)
  return coded.map(([twin]) => twin)
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
function replace(path: string, content: string | Uint8Array): void {
  const draft = `${path}.${randomBytes(6).toString('hex')}`
  writeFileSync(draft, content)
  renameSync(draft, path)
}
