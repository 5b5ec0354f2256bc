/** Does everybody get the remote page, the same, with a policy under which nothing else runs, and at what cost? */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { brotliDecompressSync, gunzipSync, gzipSync } from 'node:zlib'
import t from 'tap'
import { buildRemotePage } from '../../build/remote-page.ts'
import { RemoteFolder } from '../../routes/remote-files.ts'
import { client } from '../helpers/door.ts'
import { startWorkspace, token } from '../helpers/gateway.ts'
import { temporaryFolder } from '../helpers/process.ts'
import { send } from '../helpers/wire.ts'

const PAGE = '/_gateway/remote/'

await buildRemotePage()

/** The paths of the two files that a page names. */
function filesIn(html: string): string[] {
  return [...html.matchAll(/(?:src|href)="(remote-[^"]+)"/g)].map(([, name]) => `${PAGE}${name}`)
}

t.test('a stranger gets the page and its files, and dials nothing', async (t) => {
  const { port, dials } = await startWorkspace(t)
  const page = await send(port, `GET ${PAGE}`)
  t.match(page, {
    status: 200,
    headers: {
      'content-type': 'text/html; charset=utf-8',
      'cache-control': 'private, no-cache',
      'x-content-type-options': 'nosniff',
      'referrer-policy': 'no-referrer',
      'cross-origin-opener-policy': 'same-origin',
      etag: /^"[\w-]{16}"$/,
    },
    body: /<bdi id="workspace">houston<\/bdi>/,
  })
  t.notOk('set-cookie' in page.headers)
  const files = filesIn(page.body)
  t.equal(files.length, 2)
  for (const path of files) {
    const file = await send(port, `GET ${path}`)
    t.match(file, {
      status: 200,
      headers: {
        'content-type': path.endsWith('.js')
          ? 'text/javascript; charset=utf-8'
          : 'text/css; charset=utf-8',
        'cache-control': 'private, max-age=31536000, immutable',
        'x-content-type-options': 'nosniff',
      },
    })
    t.ok(file.body.length > 10_000)
    t.equal((await send(port, `HEAD ${path}`)).body, '')
  }
  t.equal((await send(port, `HEAD ${PAGE}`)).body, '')
  t.equal(dials(), 0)
})

t.test('nothing runs on the page but its one script, and nothing is inline', async (t) => {
  const { port } = await startWorkspace(t)
  const { headers, body } = await send(port, `GET ${PAGE}`)
  const [style = '', script = ''] = filesIn(body)
  t.same(headers['content-security-policy']?.split('; '), [
    "default-src 'none'",
    `script-src http://houston.hubify.com${script}`,
    `style-src http://houston.hubify.com${style}`,
    'img-src data:',
    'connect-src wss: ws://localhost:* ws://127.0.0.1:*',
    "form-action 'none'",
    "base-uri 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
  ])
  t.notMatch(body, /<style|style=|<script(?![^>]* src=)|\son\w+=/)
  const https = await send(port, `GET ${PAGE}`, ['X-Forwarded-Proto: https'])
  t.match(
    https.headers['content-security-policy'],
    `script-src https://houston.hubify.com${script};`,
    'the origin is the one that the browser sees',
  )
})

t.test(
  'a browser that has the page is told so, and gets it again when it has changed',
  async (t) => {
    const { port } = await startWorkspace(t)
    const { headers } = await send(port, `GET ${PAGE}`)
    for (const tag of [headers['etag'], `W/${headers['etag']}`]) {
      const again = await send(port, `GET ${PAGE}`, [`If-None-Match: ${tag}`])
      t.match(again, { status: 304, headers: { etag: headers['etag'] } })
      t.equal(again.body, '')
      t.equal(again.headers['content-security-policy'], headers['content-security-policy'])
    }
    t.equal((await send(port, `GET ${PAGE}`, ['If-None-Match: "another"'])).status, 200)
  },
)

t.test('the files come compressed to who can read that, and plain to everybody else', async (t) => {
  const { port, dials } = await startWorkspace(t)
  const { body } = await send(port, `GET ${PAGE}`, ['Accept-Encoding: gzip, br'])
  for (const path of filesIn(body)) {
    const plain = await send(port, `GET ${path}`)
    t.notOk('content-encoding' in plain.headers)
    const tags = new Set([plain.headers['etag']])
    for (const [accepted, coding, read] of [
      ['gzip, deflate, br, zstd', 'br', brotliDecompressSync],
      ['gzip, deflate', 'gzip', gunzipSync],
    ] as const) {
      const coded = await send(port, `GET ${path}`, [`Accept-Encoding: ${accepted}`])
      t.match(coded, {
        status: 200,
        headers: {
          'content-encoding': coding,
          'content-length': String(coded.body.length),
          'content-type': plain.headers['content-type'],
          'cache-control': 'private, max-age=31536000, immutable',
          vary: 'Accept-Encoding',
        },
      })
      t.ok(coded.body.length < plain.body.length / 3, 'it is worth it')
      t.equal(read(Buffer.from(coded.body, 'latin1')).toString('latin1'), plain.body)
      tags.add(coded.headers['etag'])
      const head = await send(port, `HEAD ${path}`, [`Accept-Encoding: ${accepted}`])
      t.equal(head.body, '')
      for (const name of ['content-encoding', 'content-length', 'etag', 'vary', 'content-type'])
        t.equal(head.headers[name], coded.headers[name], `HEAD says the same ${name}`)
      const fields = [`Accept-Encoding: ${accepted}`, `If-None-Match: ${coded.headers['etag']}`]
      const again = await send(port, `GET ${path}`, fields)
      t.match(again, { status: 304, headers: { vary: 'Accept-Encoding' } })
      t.equal(again.headers['etag'], coded.headers['etag'])
      const other = await send(port, `GET ${path}`, fields.slice(1))
      t.equal(other.status, 200, 'the tag of one coding is not that of another')
    }
    t.equal(tags.size, 3)
    t.match(plain.headers, { vary: 'Accept-Encoding', 'content-length': `${plain.body.length}` })
    const refused = await send(port, `GET ${path}`, ['Accept-Encoding: br;q=0, gzip;q=0'])
    t.notOk('content-encoding' in refused.headers)
  }
  t.equal(dials(), 0)
})

t.test('no other method, no other file, and the slash is added', async (t) => {
  const { port, dials } = await startWorkspace(t)
  for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS'])
    for (const path of ['/_gateway/remote', PAGE, `${PAGE}remote-x.js`])
      t.match(await send(port, `${method} ${path}`, ['Content-Length: 0']), {
        status: 405,
        headers: { allow: 'GET, HEAD' },
      })
  for (const file of ['remote.js', 'remote-AAAAAAAAAAAAAAAA.js', 'constructor', '__proto__', 'a/b'])
    t.match(await send(port, `GET ${PAGE}${file}`), { status: file === 'a/b' ? 401 : 404 })
  t.match(await send(port, 'GET /_gateway/remote'), { status: 302, headers: { location: PAGE } })
  t.match(await send(port, `GET ${PAGE}`, ['Host: evil.example']), { status: 421 })
  t.equal(dials(), 0)
})

t.test(
  'a first load costs a stranger three requests of ten, and a further one costs one',
  async (t) => {
    const { port, dials } = await startWorkspace(t, { GATEWAY_RATE_LIMIT: '4' })
    const from = client('203.0.113.9')
    const page = await send(port, `GET ${PAGE}`, [from])
    for (const path of filesIn(page.body))
      t.equal((await send(port, `GET ${path}`, [from])).status, 200)
    const again = [from, `If-None-Match: ${page.headers['etag']}`]
    t.equal((await send(port, `GET ${PAGE}`, again)).status, 304)
    const refused = await send(port, `GET ${PAGE}`, again)
    t.match(refused, { status: 429, headers: { 'retry-after': /^[0-9]+$/ } })
    t.equal((await send(port, `GET ${PAGE}`, [client('203.0.113.10')])).status, 200)
    t.equal(dials(), 0)
  },
)

t.test('a session changes nothing, and one that is over does not matter', async (t) => {
  const { port } = await startWorkspace(t)
  const { body } = await send(port, `GET ${PAGE}`)
  for (const credential of [`Bearer ${await token()}`, 'Bearer nonsense']) {
    const answer = await send(port, `GET ${PAGE}`, [`Authorization: ${credential}`])
    t.equal(answer.status, 200)
    t.equal(answer.body, body)
  }
})

t.test('a page that was not built is not found, with what to do', async (t) => {
  const folder = join(temporaryFolder(t), 'remote')
  const files = new RemoteFolder(folder)
  await t.rejects(files.read(), { code: 'not-found', detail: /LINK_PAGE_URL/ })
  mkdirSync(folder)
  writeFileSync(join(folder, 'remote.js'), 'one')
  await t.rejects(files.read(), { code: 'not-found' }, 'also when a part of it is missing')
  writeFileSync(join(folder, 'remote.css'), 'p{}')
  const first = await files.read()
  t.equal(await files.read(), first, 'it is read once')
  writeFileSync(join(folder, 'remote.js'), 'another')
  const second = await files.read()
  t.not(second.names.script, first.names.script, 'and again after a build')
  t.equal(second.names.style, first.names.style)
})

t.test('only what the build has compressed of these very files is sent for them', async (t) => {
  const folder = join(temporaryFolder(t), 'remote')
  mkdirSync(folder)
  const files = new RemoteFolder(folder)
  const script = async () => {
    const { names, byName } = await files.read()
    return byName.get(names.script)
  }
  const write = (name: string, content: string | Uint8Array) =>
    writeFileSync(join(folder, name), content)
  write('remote.js', 'one')
  write('remote.css', 'p{}')
  t.equal((await script())?.coded.size, 0, 'a file without a twin is sent as it is')
  const twin = `${(await files.read()).names.script}.gz`
  write('remote.js.gz', gzipSync('one'))
  t.equal((await script())?.coded.size, 0, 'nothing says of which text this is')
  write(twin, gzipSync('one'))
  t.same([...((await script())?.coded.keys() ?? [])], ['gzip'], 'it is seen when it is there')
  t.same((await script())?.coded.get('gzip')?.bytes, readFileSync(join(folder, twin)))
  write('remote.js', 'another')
  t.equal((await script())?.coded.size, 0, 'that of another build is not sent')
  t.equal((await script())?.plain.bytes.toString(), 'another')
  write('remote.js', 'one')
  t.equal((await script())?.coded.size, 1)
  rmSync(join(folder, twin))
  t.equal((await script())?.coded.size, 0)
})
