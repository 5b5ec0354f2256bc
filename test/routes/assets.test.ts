/** Are the scripts of the gateway's own pages served to everybody who may see such a page, and nothing else? */
import { Script } from 'node:vm'
import t from 'tap'
import { SCRIPT_FILES, scriptPath } from '../../src/answers/pages/scripts.ts'
import { client } from '../helpers/door.ts'
import { startWorkspace } from '../helpers/gateway.ts'
import { send } from '../helpers/wire.ts'

t.test('a script is served to anybody, for ever, and never counted', async (t) => {
  const { port, dials } = await startWorkspace(t, { GATEWAY_RATE_LIMIT: '1' })
  const from = client('203.0.113.9')
  await send(port, 'GET /', [from])
  t.equal((await send(port, 'GET /', [from])).status, 429)
  for (const method of ['GET', 'HEAD']) {
    const answer = await send(port, `${method} ${scriptPath('countdown')}`, [from])
    t.match(answer, {
      status: 200,
      headers: {
        'content-type': 'text/javascript; charset=utf-8',
        'cache-control': 'private, max-age=31536000, immutable',
        'x-content-type-options': 'nosniff',
      },
    })
    t.equal(answer.body !== '', method === 'GET')
    t.notOk('ratelimit' in answer.headers)
  }
  t.equal(dials(), 0)
})

t.test('no other file is there, and no other method', async (t) => {
  const { port, dials } = await startWorkspace(t)
  for (const file of ['countdown.js', 'countdown-AAAAAAAAAAAA.js', 'constructor', '__proto__'])
    t.match(await send(port, `GET /_gateway/assets/${file}`), {
      status: 404,
      headers: { 'x-gateway-error': 'not-found' },
    })
  t.equal((await send(port, `POST ${scriptPath('waking')}`, ['Content-Length: 0'])).status, 405)
  t.equal(dials(), 0)
})

t.test('a script is whole: a program without types, and without a name from outside', async (t) => {
  for (const [file, text] of SCRIPT_FILES) {
    t.doesNotThrow(() => new Script(text), file)
    t.notMatch(text, /\bimport\b|\brequire\b|__name|: (?:string|number|void)\b/)
  }
})
