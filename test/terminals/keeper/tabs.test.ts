/** Which page is sent to a tab, and which terminal belongs to one? */
import t from 'tap'
import { addressWithTab, tabOf } from '../../../src/terminals/keeper/plain-requests.ts'
import {
  cutOff,
  openShell,
  openTerminal,
  startScriptedTtyd,
  startTestKeeper,
} from '../../helpers/kept-terminals.ts'
import { basic } from '../../helpers/ttyd.ts'
import { CREDENTIAL } from '../../helpers/kept-terminals.ts'
import { eventually } from '../../helpers/waiting.ts'

const NAVIGATION = { 'sec-fetch-mode': 'navigate' }
const HTML = { accept: 'text/html,application/xhtml+xml,*/*;q=0.8' }
const TAB_AT_THE_END = /tab=[A-Za-z0-9_-]{22}$/

t.test('a page without a tab is sent to one, with everything else in its address', async (t) => {
  for (const [url, before] of [
    ['/terminal/', '/terminal/?'],
    ['/terminal/?', '/terminal/?'],
    ['/terminal/?arg=a&arg=b%20c', '/terminal/?arg=a&arg=b%20c&'],
    [
      '/terminal/?fontSize=20&disableLeaveAlert=true',
      '/terminal/?fontSize=20&disableLeaveAlert=true&',
    ],
    ['/terminal/?mytab=x', '/terminal/?mytab=x&'],
    ['/terminal/?arg=%ff%&a=%', '/terminal/?arg=%ff%&a=%&'],
  ] as const)
    for (const headers of [NAVIGATION, HTML]) {
      const location = addressWithTab({ method: 'GET', url, headers }) ?? ''
      t.ok(location.startsWith(before), location)
      t.match(location, TAB_AT_THE_END)
    }
  const two = [1, 2].map(() => addressWithTab({ method: 'GET', url: '/terminal/', headers: HTML }))
  t.not(two[0], two[1])
})

t.test('every other request is for ttyd', async (t) => {
  for (const [method, url, headers] of [
    ['GET', '/terminal/?tab=0123456789abcdef', NAVIGATION],
    ['GET', '/terminal/?arg=x&tab=', NAVIGATION],
    ['GET', '/terminal/?t%61b=x', NAVIGATION],
    ['HEAD', '/terminal/', NAVIGATION],
    ['POST', '/terminal/', NAVIGATION],
    ['GET', '/terminal', NAVIGATION],
    ['GET', '/terminal/token', NAVIGATION],
    ['GET', '/terminal//', NAVIGATION],
    ['GET', 'http://x/terminal/', NAVIGATION],
    ['GET', '/terminal/', { 'sec-fetch-mode': 'cors', ...HTML }],
    ['GET', '/terminal/', { 'sec-fetch-mode': 'no-cors', ...HTML }],
    ['GET', '/terminal/', { accept: '*/*' }],
    ['GET', '/terminal/', { accept: 'application/json' }],
    ['GET', '/terminal/', {}],
  ] as const)
    t.equal(addressWithTab({ method, url, headers }), undefined, `${method} ${url}`)
})

t.test('the redirect is not stored, and ttyd is not asked for it', async (t) => {
  const ttyd = await startScriptedTtyd(t)
  const keeper = await startTestKeeper(t, ttyd)
  const redirect = await keeper.ask('GET', '/terminal/?arg=1', HTML)
  t.equal(redirect.status, 302)
  t.match(redirect.headers.location, /^\/terminal\/\?arg=1&tab=/)
  t.equal(redirect.headers['cache-control'], 'no-store')
  t.equal(ttyd.dials(), 0)
  const authorization = basic(CREDENTIAL)
  const page = await keeper.ask('GET', redirect.headers.location ?? '', { ...HTML, authorization })
  t.match(page, { status: 200, body: `ttyd ${redirect.headers.location}` })
})

t.test('a terminal without a tab, or without a session, ends with its connection', async (t) => {
  const ttyd = await startScriptedTtyd(t)
  const keeper = await startTestKeeper(t, ttyd)
  for (const options of [
    { tab: '' },
    { tab: 'too-short' },
    { tab: 'a'.repeat(65) },
    { tab: '0123456789abcdef%20' },
    { tab: '0123456789abcdef%00' },
    { tab: '..%2f..%2f..%2f..%2f..' },
    { sid: '' },
  ]) {
    const { client, shell } = await openShell(t, keeper, ttyd, options)
    client.socket.terminate()
    await eventually(() => shell.hasEnded(), `the shell ends: ${JSON.stringify(options)}`)
    t.equal(keeper.terminals.size, 0)
  }
})

t.test('a tab is compared as it is decoded, and the first one counts', async (t) => {
  t.equal(tabOf('/terminal/ws?arg=1&tab=a%2Db&tab=c'), 'a-b')
  t.equal(tabOf('/terminal/ws?tab=%'), '%')
  t.equal(tabOf('/terminal/ws'), undefined)
  const ttyd = await startScriptedTtyd(t)
  const keeper = await startTestKeeper(t, ttyd)
  const { client, shell } = await openShell(t, keeper, ttyd, { tab: 'tab-0123456789abcdef' })
  await cutOff(keeper, client)
  const back = await openTerminal(t, keeper.path, { tab: 'tab%2D0123456789abcdef&arg=other' })
  back.type('x')
  await eventually(() => shell.received.includes('0x'), 'the same shell')
})

t.test('tabs of the same person in the same session have shells of their own', async (t) => {
  const ttyd = await startScriptedTtyd(t)
  const keeper = await startTestKeeper(t, ttyd)
  const one = await openShell(t, keeper, ttyd, { tab: 'tab-1-0123456789abcdef' })
  const two = await openShell(t, keeper, ttyd, { tab: 'tab-2-0123456789abcdef' })
  await cutOff(keeper, one.client, two.client)
  for (const [tab, { shell }] of [
    ['tab-2-0123456789abcdef', two],
    ['tab-1-0123456789abcdef', one],
  ] as const) {
    const back = await openTerminal(t, keeper.path, { tab })
    back.type(tab)
    await eventually(() => shell.received.includes(`0${tab}`), 'its own shell')
  }
  t.equal(ttyd.shells.length, 2)
})
