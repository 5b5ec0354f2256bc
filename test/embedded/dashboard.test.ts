/** Does the dashboard show the signed-in user, and is every name escaped? */
import t, { type Test } from 'tap'
import { startDashboard } from '../../embedded/dashboard.ts'

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
