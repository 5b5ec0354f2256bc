/**
 * `npm run build`: the gateway as one file that runs without node_modules, `dist/workspace-gateway.cjs` or the argument.
 * It starts in half the time, and in two thirds of the memory, of its sources.
 */
import { chmodSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { build, type Plugin } from 'esbuild'
import { VERSION } from '../src/answers/version.ts'

/** A module of a package that loads far more than the gateway uses, and what the bundle has in its place. */
interface Replacement {
  readonly module: string
  readonly importedBy: RegExp
  readonly contents: string
}

const REPLACEMENTS: readonly Replacement[] = [
  // There is no package.json beside the bundle.
  {
    module: './version.ts',
    importedBy: /src.[a-z-]+\.ts$/,
    contents: `export const VERSION = ${JSON.stringify(VERSION)}`,
  },
  {
    // The entry point brings a client for each of a dozen databases.
    module: 'rate-limiter-flexible',
    importedBy: /./,
    contents: `
      exports.RateLimiterCompatibleAbstract = require('rate-limiter-flexible/lib/RateLimiterCompatibleAbstract.js')
      exports.RateLimiterRes = require('rate-limiter-flexible/lib/RateLimiterRes.js')`,
  },
  {
    // The sender of @fastify/http-proxy, which is never reached (routes/proxied.ts), brings undici: 15 MB of memory and a
    // third of the time until the gateway answers.
    module: './lib/request',
    importedBy: /@fastify.reply-from.index\.js$/,
    contents: 'module.exports = () => ({ close() {} })',
  },
  // TLS ends at the front, and HTTP/2 is not spoken: they would be loaded, another 4 MB, only to be there.
  { module: 'node:https', importedBy: /fastify.+\.js$/, contents: '' },
  { module: 'node:http2', importedBy: /fastify.+\.js$/, contents: 'exports.constants = {}' },
  { module: 'https', importedBy: /ws.lib.websocket\.js$/, contents: '' },
  { module: 'tls', importedBy: /ws.lib.websocket\.js$/, contents: '' },
]

const replaceModules: Plugin = {
  name: 'replace-modules',
  setup(bundler) {
    bundler.onResolve({ filter: /^[./:\w-]+$/ }, ({ path, importer, namespace }) => {
      const place = REPLACEMENTS.findIndex(
        ({ module, importedBy }) => module === path && importedBy.test(importer),
      )
      return namespace !== 'replacement' && place >= 0
        ? { path: String(place), namespace: 'replacement' }
        : undefined
    })
    bundler.onLoad({ filter: /.*/, namespace: 'replacement' }, ({ path }) => ({
      contents: REPLACEMENTS[Number(path)]?.contents ?? '',
      resolveDir: root,
    }))
  },
}

const root = fileURLToPath(new URL('..', import.meta.url))
const outfile = process.argv[2] ?? `${root}dist/workspace-gateway.cjs`

await build({
  absWorkingDir: root,
  entryPoints: ['src/main.ts'],
  outfile,
  bundle: true,
  platform: 'node',
  // Syntax that an old Node can read, so that it gets as far as being refused (src/process/required-node.ts). 24 runs it no slower.
  target: 'node18',
  // As CommonJS: importing `node:http` as an ES module evaluates a property of it that loads Node's own undici.
  format: 'cjs',
  // Names stay: they are what a fault in the log is told by.
  minifyWhitespace: true,
  minifySyntax: true,
  legalComments: 'eof',
  plugins: [replaceModules],
  logLevel: 'info',
})
chmodSync(outfile, 0o755)
