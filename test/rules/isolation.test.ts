/** Which responses are sandboxed, and which requests would let one service act on another? */
import * as fc from 'fast-check'
import t from 'tap'
import { isolationFields } from '../../src/http/browser.ts'
import { isServiceWorkerScript, namesForeignGateway } from '../../src/rules/isolation.ts'
import { anyText } from '../helpers/any-text.ts'

const SANDBOX = ['Content-Security-Policy', 'sandbox']

t.test(
  'a response that a browser would render as a document with scripts is sandboxed, no other',
  async (t) => {
    for (const type of [
      'text/html',
      'text/html; charset=utf-8',
      'TEXT/HTML',
      ' text/html',
      'text/html,text/plain',
      'application/xhtml+xml',
      'image/svg+xml',
      'IMAGE/SVG+XML;charset=utf-8',
      'text/xml',
      'application/xml',
      'application/rss+xml',
      'application/mathml+xml',
      'text/plain, text/html', // several Content-Type fields
    ])
      t.same(isolationFields(type), SANDBOX, type)
    for (const type of [
      undefined,
      '',
      'application/json',
      'application/json; charset=utf-8',
      'application/problem+json',
      'text/event-stream',
      'text/plain',
      'text/markdown',
      'text/css',
      'text/javascript',
      'application/octet-stream',
      'application/wasm',
      'image/png',
      'audio/mpeg',
      'application/pdf',
    ])
      t.same(isolationFields(type), [], type ?? 'none')
  },
)

t.test('types that only some browsers render as documents are sandboxed too', async (t) => {
  for (const type of [
    'text/xsl',
    'text/xsl; charset=utf-8',
    'multipart/x-mixed-replace; boundary=x',
  ])
    t.same(isolationFields(type), SANDBOX, type)
})

t.test('a fetch of a service worker is recognized by either of its headers', async (t) => {
  t.ok(isServiceWorkerScript({ 'service-worker': 'script' }))
  t.ok(isServiceWorkerScript({ 'sec-fetch-dest': 'serviceworker' }))
  t.ok(isServiceWorkerScript({ 'service-worker': '', 'sec-fetch-dest': 'script' }))
  for (const dest of ['script', 'worker', 'sharedworker', 'document', 'empty', ''])
    t.notOk(isServiceWorkerScript({ 'sec-fetch-dest': dest }), dest)
  t.notOk(isServiceWorkerScript({}))
})

t.test('a query names another gateway if a page that parses it finds gatewayUrl', async (t) => {
  for (const query of [
    '?gatewayUrl=wss://evil.example',
    '?gatewayUrl',
    '?gatewayUrl=',
    '?gatewayurl=x',
    '?GATEWAYURL=x',
    '?GatewayURL=x',
    '?%67atewayUrl=x',
    '?gateway%55rl=x',
    '?%67%61%74%65%77%61%79%55%72%6c=x',
    '?%67%61%74%65%77%61%79%55%72%6C',
    '?+gatewayUrl=x',
    '?gatewayUrl+=x',
    '?%20gatewayUrl%09=x',
    '?a=1&gatewayUrl=x',
    '?&&gatewayUrl=x',
    '?a=1&b&gatewayUrl=x&c',
    '?gatewayUrl=&gatewayUrl=x',
    '?session=main&token=x&gatewayUrl=ws%3A%2F%2Fevil',
  ])
    t.ok(namesForeignGateway(query), query)
  for (const query of [
    '',
    '?',
    '?session=main',
    '?a=gatewayUrl',
    '?a=%67atewayUrl',
    '?gatewayUrls=x',
    '?xgatewayUrl=x',
    '?gateway=x',
    '?gateway_url=x',
    '?gateway-url=x',
    '?gatewayUrl%00=x',
    '?gatewayUrl;=x',
    '?%2567atewayUrl=x',
    '?%',
    '?%zz=%',
  ])
    t.notOk(namesForeignGateway(query), query)
})

t.test('every spelling that a URL parser reads as gatewayUrl is found', async (t) => {
  const spelled = fc
    .array(fc.tuple(fc.boolean(), fc.boolean()), { minLength: 10, maxLength: 10 })
    .map((how) =>
      Array.from('gatewayUrl', (char, i) => {
        const [upper = false, escaped = false] = how[i] ?? []
        const cased = upper ? char.toUpperCase() : char.toLowerCase()
        return escaped ? `%${cased.charCodeAt(0).toString(16)}` : cased
      }),
    )
    .map((chars) => chars.join(''))
  const other = fc.constantFrom('', 'a=1', 'b', '%', '+', '=', 'x=gatewayUrl', '%26=1')
  const property = fc.property(
    fc.array(other),
    spelled,
    anyText(),
    fc.array(other),
    (before, name, value, after) => {
      const pair = `${name}=${encodeURIComponent(value.toWellFormed())}`
      const query = `?${[...before, pair, ...after].join('&')}`
      const names = [...new URLSearchParams(query).keys()].map((one) => one.toLowerCase())
      return names.includes('gatewayurl') && namesForeignGateway(query)
    },
  )
  t.doesNotThrow(() => fc.assert(property, { numRuns: 2000 }))
})
