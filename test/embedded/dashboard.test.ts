/** Does the dashboard show the signed-in user, and is every name escaped? */
import { readFileSync } from 'node:fs'
import t, { type Test } from 'tap'
import { startDashboard } from '../../embedded/dashboard.ts'
import { ALWAYS_DARK, TOKENS } from '../../src/answers/pages/style.ts'
import { buildTerminalPage } from '../../embedded/terminal-page.ts'

async function open(t: Test) {
  const dashboard = await startDashboard()
  t.teardown(dashboard.close)
  const get = (path: string, headers = {}) =>
    fetch(dashboard.url + path, { headers, redirect: 'manual' })
  return { ...dashboard, get }
}

t.test('the pages show the user and the workspace', async (t) => {
  const { get } = await open(t)
  const headers = { 'x-forwarded-user': 'ada', 'x-workspace': 'houston' }
  for (const path of ['/', '/about', '/nope']) {
    const answer = await get(path, headers)
    t.equal(answer.status, path === '/nope' ? 404 : 200)
    t.equal(answer.headers.get('content-type'), 'text/html; charset=utf-8')
    const page = await answer.text()
    t.match(page, /<title>[\w ]+ · houston<\/title>/)
    t.match(page, /Signed in as <\/span>ada</)
    t.match(page, '<form class="account" method="post" action="/_gateway/sign-out">')
  }
})

t.test('without the gateway’s header, nobody is signed in', async (t) => {
  const page = await (await (await open(t)).get('/')).text()
  t.match(page, 'Nobody is signed in')
  t.notMatch(page, 'sign-out')
})

t.test('names are shown as text, whatever characters they contain', async (t) => {
  const { get } = await open(t)
  const evil = `"><script>alert('x')</script>&`
  const answer = await get('/', { 'x-forwarded-user': evil, 'x-workspace': evil })
  const page = await answer.text()
  t.notMatch(page, evil)
  t.notMatch(page, '<script>')
  t.match(page, '&#34;&#62;&#60;script&#62;alert(&#39;x&#39;)&#60;/script&#62;&#38;')
  t.match(answer.headers.get('content-security-policy'), "script-src 'self'")
})

t.test('the page’s assets are served, and revalidated with 304 while unchanged', async (t) => {
  const { get } = await open(t)
  const page = await (await get('/')).text()
  const assets = new Set(page.match(/(?<=(?:src|href)=")\/assets\/[^"]+/g))
  t.same([...assets].map((path) => path.replace(/.*\./, '')).toSorted(), [
    'css',
    'js',
    'js',
    'js',
    'svg',
  ])
  t.notMatch(page, /(?:src|href)="(?:https?:)?\/\//, 'nothing comes from elsewhere')
  for (const path of assets) {
    const answer = await get(path)
    t.equal(answer.status, 200, path)
    t.match(answer.headers.get('content-type'), /^(?:text\/(?:css|javascript)|image\/svg\+xml)/)
    const etag = answer.headers.get('etag') ?? ''
    t.equal((await get(path, { 'if-none-match': etag })).status, 304)
  }
  t.equal((await get('/assets/dashboard.ts')).status, 404)
  t.equal((await get('/assets/..%2Fdashboard.ts')).status, 404)
})

t.test('an action with any content type redirects to the dashboard', async (t) => {
  const { url } = await open(t)
  for (const body of ['a=b', new URLSearchParams({ a: 'b' }), new FormData(), null]) {
    const answer = await fetch(`${url}/action`, { method: 'POST', body, redirect: 'manual' })
    t.equal(answer.status, 303)
    t.equal(answer.headers.get('location'), '/')
  }
})

t.test('the dashboard and the terminal look as the gateway’s own pages do', async (t) => {
  const { get } = await open(t)
  const style = await (await get('/assets/dashboard.css')).text()
  t.ok(style.startsWith(TOKENS), 'with its tokens in front')
  t.ok((await buildTerminalPage()).includes(`<style>${TOKENS}${ALWAYS_DARK}`))
  const names = new Set(TOKENS.match(/--[\w-]+(?=:)/g))
  for (const file of ['dashboard.css', 'terminal.css']) {
    const own = readFileSync(new URL(`../../embedded/assets/${file}`, import.meta.url), 'utf8')
    t.notMatch(own, /#[\da-f]{3,8}\b(?!.*\{)|rgb|hsl/i, `${file} has no colour of its own`)
    t.notMatch(own, /(?:margin|padding|gap)[\w-]*:[^;]*\b(?:[3-9]|\d\d+)px/, 'and no distance')
    const used = [...own.matchAll(/var\((--[\w-]+)\)/g)].map(([, name = '']) => name)
    t.same(
      used.filter((name) => !names.has(name)),
      [],
      'and every token that it uses is there',
    )
  }
})
