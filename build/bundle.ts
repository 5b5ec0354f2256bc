/**
 * How is the gateway built into one file that runs without node_modules? `npm run build` bundles it with esbuild into
 * `dist/workspace-gateway.cjs`, or into the file that is given as an argument. Compared with the sources, the file starts with
 * a third of the CPU time and needs 60 % of the memory.
 */
import { chmodSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const root = fileURLToPath(new URL('..', import.meta.url))
const outfile = process.argv[2] ?? `${root}dist/workspace-gateway.cjs`

await build({
  absWorkingDir: root,
  entryPoints: ['src/main.ts'],
  outfile,
  bundle: true,
  platform: 'node',
  // Keep the syntax readable for an old Node, so that src/process/required-node.ts can run there and refuse to start. Node 24
  // runs the result as fast.
  target: 'node18',
  // CommonJS, because importing `node:http` as an ES module reads a property of it that loads Node's own undici.
  format: 'cjs',
  // Names are not minified, because they appear in the stack traces of the log.
  minifyWhitespace: true,
  minifySyntax: true,
  legalComments: 'eof',
  // @fastify/reply-from requires undici when it is loaded, and uses it only to send requests itself, which it never does here
  // (routes/proxied.ts). Without undici the gateway needs a fifth less CPU time to start, 6 MiB less memory at rest, and 0.7 MB
  // less in this file. Should anything use undici, its replacement throws.
  alias: { undici: './build/no-undici.cjs' },
  logLevel: 'info',
})
chmodSync(outfile, 0o755)
