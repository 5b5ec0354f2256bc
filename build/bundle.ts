/**
 * How is the gateway built into one file that runs without node_modules? `npm run build` bundles it with esbuild into
 * `dist/workspace-gateway.cjs`, or into the file that is given as an argument. The files of the remote page, which a browser loads, go to
 * the folder `remote` beside it. Compared with the sources, the file starts with
 * a third of the CPU time and needs 60 % of the memory.
 */
import { chmodSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { buildRemotePage } from './remote-page.ts'

const root = fileURLToPath(new URL('..', import.meta.url))
const outfile = process.argv[2] ?? `${root}dist/workspace-gateway.cjs`

/** What @simplewebauthn/server uses for certificates alone. */
const CERTIFICATE_LIBRARIES = [
  '@peculiar/x509',
  '@peculiar/asn1-android',
  '@peculiar/asn1-rsa',
  '@peculiar/asn1-x509-post-quantum',
  'reflect-metadata',
]

/**
 * What packages require when they are loaded, and the gateway never uses: schemas (src/http/no-schemas.ts), requests without a
 * connection, WebSockets of tests, and a log in a thread of its own.
 */
const NEVER_USED = [
  '@fastify/ajv-compiler',
  '@fastify/fast-json-stringify-compiler',
  'light-my-request',
  'duplexify',
  'thread-stream',
]

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
  //
  // @simplewebauthn/server needs the libraries below to check certificates of authenticators, which the gateway refuses before
  // (src/identity/second-factor/passkeys.ts). Without them this file is 0.3 MB smaller, and so is the memory at rest, the
  // first passkey is shown sooner, and no stranger's bytes reach what is not needed. Signatures need @peculiar/asn1-ecc.
  //
  // Without the others it starts with 14 ms less of CPU time, needs 2.7 MiB less at rest, and is 0.7 MB smaller.
  alias: {
    undici: './build/no-undici.cjs',
    'node:http2': './build/no-http2.cjs',
    semver: './build/checked-before.cjs',
    'safe-regex2': './build/checked-before.cjs',
    ...Object.fromEntries(NEVER_USED.map((name) => [name, './build/left-out.cjs'])),
    ...Object.fromEntries(
      CERTIFICATE_LIBRARIES.map((name) => [name, './build/no-certificates.cjs']),
    ),
  },
  // CommonJS has other names for the place of a file. The gateway looks beside itself for the files of the remote page.
  define: { 'import.meta.filename': '__filename', 'import.meta.dirname': '__dirname' },
  logLevel: 'info',
})
chmodSync(outfile, 0o755)
await buildRemotePage(join(dirname(outfile), 'remote'))
makeAscii(outfile)

/**
 * Makes the file ASCII, because Node reads that some milliseconds faster. With a character above U+00FF, V8 would also keep the whole
 * file with two bytes a character. esbuild escapes code, but no tagged templates, such as the pages, and no comments. In templates they
 * are refused here; in the licences, which are comments at the end of the file, they are escaped.
 */
function makeAscii(path: string): void {
  const text = readFileSync(path, 'utf8')
  const code = text.slice(0, text.lastIndexOf('/*! Bundled license information:'))
  const wide = /.{0,40}[\u0080-\uffff].{0,40}/.exec(code)?.[0]
  if (wide !== undefined)
    throw new Error(`write what is not ASCII as a reference, such as &hellip;: ${wide}`)
  const escaped = text.replaceAll(
    /[\u0080-\uffff]/g,
    (each) => `\\u${each.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
  writeFileSync(path, escaped)
}
