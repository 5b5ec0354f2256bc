/** Is a path logged without any token, and cut when it is too long? */
import * as fc from 'fast-check'
import t from 'tap'
import { loggedPath, MAX_LOGGED_PATH } from '../../src/observe/logged-path.ts'
import { token } from '../helpers/gateway.ts'

const API_TOKEN = `hub_${'A1b2C3d4'.repeat(4)}`

t.test('text that has the form of a token is removed, and nothing else', async (t) => {
  const jws = await token()
  const rows: ReadonlyArray<readonly [path: string, expected: string]> = [
    ['/', '/'],
    ['/logs/2026', '/logs/2026'],
    [`/${jws}`, '/[token]'],
    [`/api/${jws}/x`, '/api/[token]/x'],
    [`/api/x${jws}/x`, '/api/x[token]/x'],
    [`/${jws}/${jws}`, '/[token]/[token]'],
    [`/${API_TOKEN}`, '/[token]'],
    [`/x/${API_TOKEN}.${API_TOKEN}`, '/x/[token].[token]'],
    [`/${API_TOKEN}${jws}`, '/[token]'],
    [`/${jws}${API_TOKEN}`, '/[token]'],
    ['/eyJhbGci.e30.', '/[token]'],
    ['/eyJabcd.x.y', '/[token]'],
    ['/eyJabc.x.y', '/eyJabc.x.y'],
    ['/eyJabcd.x', '/eyJabcd.x'],
    ['/eyJabcd..y', '/eyJabcd..y'],
    ['/eyJabcd./y.z', '/eyJabcd./y.z'],
    [`/${jws.replaceAll('.', '%2E')}`, '/[token]'],
    [`/a%20b/${jws.replaceAll('.', '%25252e')}/`, '/a b/[token]/'],
    [`/${API_TOKEN.replace('_', '%5f')}`, '/[token]'],
    ['/a%20b%2Ec', '/a%20b%2Ec'],
    [`/%%368${API_TOKEN.slice(1)}/é`, '/[token]/é'],
    [`/%2%35%32%35%36%38${API_TOKEN.slice(1)}`, '/[token]'],
    ['/%%36é%2', '/%%36é%2'],
    ['/hub_1234567', '/hub_1234567'],
    ['/github_pages', '/github_pages'],
  ]
  for (const [path, expected] of rows) t.equal(loggedPath(path), expected, path)
})

t.test('a long path is cut, and no part of a token remains at the cut', async (t) => {
  const long = `/${'a'.repeat(MAX_LOGGED_PATH)}`
  t.equal(loggedPath(long), `${long.slice(0, MAX_LOGGED_PATH)}…`)
  t.equal(loggedPath(long.slice(0, MAX_LOGGED_PATH)), long.slice(0, MAX_LOGGED_PATH))
  const jws = await token()
  for (const secret of [jws, API_TOKEN])
    for (let before = MAX_LOGGED_PATH - secret.length - 2; before <= MAX_LOGGED_PATH; before++) {
      const path = `${'/'.repeat(before)}${secret}/${'b'.repeat(100)}`
      const logged = loggedPath(path).replaceAll('/', '')
      t.ok(/^(?:\[token\]b{0,2}|e|ey|h|hu|hub|)…$/.test(logged), `${before}: ${logged}`)
    }
})

t.test('no escapes hide an API token, however often they are nested', async () => {
  const escaped = (text: string) => Buffer.from(text).toString('hex').replaceAll(/../g, '%$&')
  fc.assert(
    fc.property(fc.array(fc.array(fc.boolean(), { minLength: 1 }), { maxLength: 3 }), (layers) => {
      let text = API_TOKEN
      for (const layer of layers)
        text = Array.from(text.slice(0, 150), (one, i) =>
          layer[i % layer.length] === true ? escaped(one) : one,
        ).join('')
      const logged = loggedPath(`/${text}/`.slice(0, MAX_LOGGED_PATH))
      let bare = logged
      for (let i = 0; i < 4; i++)
        bare = bare.replace(/%[2-7][0-9a-f]/gi, (one) =>
          String.fromCharCode(Number.parseInt(one.slice(1), 16)),
        )
      return !/hub_[A-Za-z0-9]{8}/.test(bare)
    }),
    { seed: 20_261_130, numRuns: 2000 },
  )
})

t.test('every token that a regular expression finds is removed', async () => {
  const piece = fc.constantFrom(
    ...['eyJ', 'hub_', 'a', '.', 'abcd', 'abcdefgh', '/', '-', '_', '%', 'é', 'eyJabcd.x.'],
  )
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 14 }), (pieces) => {
      const path = pieces.join('')
      const secrets = path.match(/eyJ[\w-]{4,}\.[\w-]+\.[\w-]*|hub_[A-Za-z0-9]{8,}/g) ?? []
      const logged = loggedPath(path)
      return secrets.length === 0 ? logged === path : !secrets.some((one) => logged.includes(one))
    }),
    { seed: 20_260_130, numRuns: 5000 },
  )
})
