/** Does everybody get the remote page, the same, with a policy under which nothing else runs, and at what cost? */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
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
