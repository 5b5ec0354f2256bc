/**
 * Can a page of one workspace act in another one in the same browser? The browser is signed in to both, and treats them as the
 * same site: it sends research's cookies with requests from houston's pages. So only research's gateway protects research.
 */
import { randomUUID } from 'node:crypto'
import type { ServerResponse } from 'node:http'
import type { Page } from 'playwright-core'
import t, { type Test } from 'tap'
import { startUpstream } from '../helpers/upstream.ts'
import * as caddy from './caddy.ts'
import * as chromium from './chromium.ts'
import { until } from './neighbour.ts'
import { DOMAIN, startWorkspace } from './workspace.ts'

await Promise.all([caddy.install(), chromium.install()])
const browser = await chromium.startChromium()
t.teardown(() => browser.stop())

/** A workspace whose services return its name and record their requests. */
async function startNamed(t: Test, name: string) {
  const say = (type: string, text: string) => (response: ServerResponse) => {
    response.setHeader('Content-Type', type)
    response.end(text)
  }
  const pages: Record<string, (response: ServerResponse) => void> = {
    '/worker.js': say('text/javascript', 'onfetch = (e) => e.respondWith(new Response("owned"))'),
    '/data.js': say('text/javascript', `window.stolen = 'secret of ${name}'`),
  }
  const page = say(
    'text/html',
    // The page has an inline icon, because browsers would request /favicon.ico at an unpredictable time.
    `<!doctype html><title>${name}</title><link rel="icon" href="data:,"><h1>secret of ${name}</h1>
<script>onmessage = ({ data }) => { document.title = String(data) }</script>`,
  )
  const dashboard = await startUpstream(t, (request, response) => {
    request.resume()
    const answer = pages[request.url ?? ''] ?? page
    answer(response)
  })
  const api = await startUpstream(t)
  const terminal = await startUpstream(t)
  const workspace = await startWorkspace({
    name,
    dashboard: dashboard.url,
    api: api.url,
    terminal: terminal.url,
    settings: { GATEWAY_RATE_LIMIT: '100000' },
  })
  t.teardown(() => workspace.stop())
  /** The requests that the services received so far, including upgrades. */
  const asked = () => [...dashboard.requests, ...api.requests, ...terminal.requests]
  return { workspace, dashboard, api, terminal, asked }
}

/** Starts both workspaces behind one Caddy, and opens a page of houston in a browser that is signed in to both. */
async function startBoth(t: Test) {
  const [houston, research] = [await startNamed(t, 'houston'), await startNamed(t, 'research')]
  const front = await caddy.startCaddy({
    [houston.workspace.host]: houston.workspace.port,
    [research.workspace.host]: research.workspace.port,
  })
  t.teardown(() => front.stop())
  const own = front.origin(houston.workspace.host)
  const target = front.origin(research.workspace.host)
  const page = await browser.open()
  t.teardown(() => page.context().close())
  await chromium.signIn(page, target, await research.workspace.token('alice'))
  await chromium.signIn(page, own, await houston.workspace.token('mallory'))
  await page.evaluate(`window.target = ${JSON.stringify(target)}`)

  /** The view of alice in research: her page, its API and its WebSocket, all with her own session. */
  async function worksForAlice(t: Test): Promise<void> {
    const hers = await page.context().newPage()
    await hers.goto(`${target}/`)
    t.equal(await hers.textContent('h1'), 'secret of research', 'research’s own page works')
    const before = research.asked().length
    const path = `/api/${randomUUID()}`
    const works = await hers.evaluate(`(async () => {
      const answer = await fetch('${path}', { method: 'POST', body: 'x' })
      const socket = new WebSocket(location.origin.replace('https', 'wss') + '/api/ws')
      const echo = await new Promise((resolve) => {
        socket.onopen = () => socket.send('hello')
        socket.onmessage = ({ data }) => resolve(data)
        socket.onerror = () => resolve('failed')
      })
      socket.close()
      return { status: answer.status, echo }
    })()`)
    t.same(works, { status: 200, echo: 'hello' }, 'and may act')
    t.ok(research.asked().length >= before + 2)
    await until('the log line', () => research.workspace.requests(path).length > 0)
    t.match(research.workspace.requests(path), [{ user: 'alice', status: 200 }], 'as alice')
    await hers.close()
  }
  return { houston, research, own, target, page, worksForAlice }
}

/** Runs a script in a page and waits for its result. `target` is research's origin. */
async function inPage<Result>(page: Page, body: string): Promise<Result> {
  return page.evaluate<Result>(`(async () => { ${body} })()`)
}

t.test('fetch: a page of houston can change nothing and read nothing in research', async (t) => {
  const { research, page, houston, worksForAlice } = await startBoth(t)
  const before = research.asked().length
  const token = await houston.workspace.token('mallory')
  const outcomes = await inPage<string[]>(
    page,
    `const outcomes = []
    const attempts = []
    for (const path of ['/', '/api/act', '/terminal/token', '/_gateway/sign-out'])
      for (const mode of ['cors', 'no-cors']) attempts.push([path, { mode, method: 'POST', body: 'x' }])
    for (const method of ['PUT', 'DELETE', 'PATCH']) attempts.push(['/api/act', { method }])
    for (const name of ['Authorization', 'X-Workspace-Token', 'X-HTTP-Method-Override'])
      attempts.push(['/api/act', { headers: { [name]: 'Bearer ${token}' } }])
    attempts.push(['/api/act', { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: '{}' }])
    for (const [path, options] of attempts) {
      const answer = await fetch(target + path, { credentials: 'include', ...options }).catch(() => undefined)
      outcomes.push(answer === undefined ? 'refused' : answer.type + ' ' + (await answer.text()))
    }
    return outcomes`,
  )
  t.same([...new Set(outcomes)].toSorted(), ['opaque ', 'refused'], 'nothing is read')
  t.equal(research.asked().length, before, 'no service of research was asked')

  // A GET reaches the service, like a link, but houston's page cannot read the response.
  const read = await inPage<string[]>(
    page,
    `const outcomes = []
    for (const path of ['/', '/api/secret', '/data.js', '/health', '/_gateway/sign-in'])
      for (const mode of ['cors', 'no-cors']) {
        const answer = await fetch(target + path, { credentials: 'include', mode }).catch(() => undefined)
        outcomes.push(answer === undefined ? 'refused' : answer.type + ' ' + (await answer.text()))
      }
    return outcomes`,
  )
  t.same([...new Set(read)].toSorted(), ['opaque ', 'refused'])
  t.ok(research.asked().length > before, 'the cookie did travel: the attack was a real one')
  await worksForAlice(t)
})

t.test('forms: a page of houston cannot post to research or sign its user out', async (t) => {
  const { research, own, target, page, worksForAlice } = await startBoth(t)
  const before = research.asked().length
  for (const path of ['/', '/api/act', '/terminal', '/_gateway/sign-out']) {
    for (const type of ['application/x-www-form-urlencoded', 'multipart/form-data', 'text/plain']) {
      await page.goto(own)
      const answering = page.waitForResponse((answer) => answer.request().method() === 'POST')
      await inPage(
        page,
        `const form = document.createElement('form')
        Object.assign(form, { method: 'post', enctype: '${type}', action: '${target}${path}' })
        const field = document.createElement('input')
        Object.assign(field, { name: 'command', value: 'rm' })
        form.append(field)
        document.body.append(form)
        form.submit()`,
      )
      const answer = await answering
      t.equal(answer.status(), 403, `${path} ${type}`)
      t.equal(answer.headers()['x-gateway-error'], 'origin-not-allowed')
      await page.waitForURL(`${target}/**`)
    }
  }
  t.equal(research.asked().length, before, 'no service of research was asked')
  await worksForAlice(t)
})

t.test('sign-in: a token of houston neither opens nor ends a session in research', async (t) => {
  const { research, own, target, houston, page, worksForAlice } = await startBoth(t)
  const token = await houston.workspace.token('mallory')
  const before = research.asked().length
  for (const url of [`${target}/_gateway/sign-in?token=${token}`, `${target}/_gateway/sign-in`]) {
    await page.goto(own)
    const answering = page.waitForResponse((answer) => answer.url().startsWith(target))
    await inPage(
      page,
      url.includes('?')
        ? `location.href = ${JSON.stringify(url)}`
        : `const form = document.createElement('form')
          Object.assign(form, { method: 'post', action: ${JSON.stringify(url)} })
          form.innerHTML = '<input name=token value="${token}">'
          document.body.append(form)
          form.submit()`,
    )
    t.equal((await answering).status(), 401)
    await page.waitForURL(`${target}/**`)
  }
  t.equal(research.asked().length, before, 'no service of research was asked')
  await worksForAlice(t)
})

t.test(
  'sign-in: a page of houston with a token of research signs nobody in: the browser asks',
  async (t) => {
    const { research, target, page, worksForAlice } = await startBoth(t)
    const token = await research.workspace.token('somebody-else')
    await inPage(
      page,
      `const form = document.createElement('form')
    Object.assign(form, { method: 'post', action: '${target}/_gateway/sign-in' })
    form.innerHTML = '<input name=token value="${token}">'
    document.body.append(form)
    form.submit()`,
    )
    await page.waitForURL(`${target}/_gateway/sign-in`)
    t.equal(await page.textContent('h1'), 'Sign in to this workspace?')
    await worksForAlice(t)
  },
)

t.test('WebSockets: a page of houston does not reach research’s shell and agent', async (t) => {
  const { research, page, worksForAlice } = await startBoth(t)
  const before = research.asked().length
  const outcomes = await inPage<string[]>(
    page,
    `const outcomes = []
    for (const [path, protocols] of [['/terminal/ws', ['tty']], ['/api/ws', []], ['/api', []], ['/_next/hmr', []], ['/', []]]) {
      const socket = new WebSocket(target.replace('https', 'wss') + path, protocols)
      outcomes.push(await new Promise((resolve) => {
        socket.onopen = () => resolve('open')
        socket.onclose = ({ code }) => resolve('closed ' + code)
      }))
    }
    return outcomes`,
  )
  t.same([...new Set(outcomes)], ['closed 1006'])
  t.equal(research.asked().length, before, 'no service of research was asked')
  const refusals = () => research.workspace.requests('/terminal/ws')
  await until('the log line', () => refusals().length > 0)
  t.match(refusals(), [{ status: 403, code: 'origin-not-allowed' }], 'the cookie did not help')
  await worksForAlice(t)
})

t.test(
  'frames, scripts and windows: a page of houston can show and read nothing of research',
  async (t) => {
    const { target, page, worksForAlice } = await startBoth(t)
    const shown = await inPage<string[]>(
      page,
      `const shown = []
    for (const path of ['/', '/api/secret', '/terminal/', '/_gateway/sign-in', '/nowhere'])
      for (const tag of ['iframe', 'object', 'embed']) {
        const frame = document.createElement(tag)
        frame[tag === 'object' ? 'data' : 'src'] = target + path
        const loaded = new Promise((resolve) => { frame.onload = frame.onerror = resolve })
        document.body.append(frame)
        await Promise.race([loaded, new Promise((resolve) => setTimeout(resolve, 3000))])
        try { shown.push(frame.contentDocument?.body?.innerText ?? 'unreadable') } catch { shown.push('unreadable') }
      }
    return shown`,
    )
    t.notOk(
      shown.some((text) => text.includes('secret')),
      `seen by houston: ${[...new Set(shown)].join(', ')}`,
    )
    for (const frame of page.frames().slice(1)) {
      const text = await frame.evaluate<string>('document.body?.innerText ?? ""').catch(() => '')
      t.notMatch(text, /secret of research|Sign in/, `a person sees nothing of ${frame.url()}`)
    }

    const stolen = await inPage<string>(
      page,
      `const script = document.createElement('script')
    script.src = target + '/api/secret'
    await new Promise((resolve) => { script.onload = script.onerror = resolve; document.body.append(script) })
    return String(window.stolen)`,
    )
    t.equal(stolen, 'undefined')

    const opening = page.context().waitForEvent('page')
    const reached = await inPage<Record<string, string>>(
      page,
      `const other = window.open(target + '/', 'victim')
    const attempt = async (name, action) => {
      try { return [name, String(await action())] } catch (error) { return [name, error.name] }
    }
    for (let i = 0; i < 1200; i++) {
      try { void other.document; await new Promise((resolve) => setTimeout(resolve, 50)) } catch { break }
    }
    return Object.fromEntries([
      await attempt('document', () => other.document.body.innerText),
      await attempt('location', () => other.location.href),
      await attempt('script', () => other.eval('1')),
      await attempt('storage', () => other.localStorage.length),
      await attempt('domain', () => { document.domain = '${DOMAIN}'; return other.document.body.innerText }),
      await attempt('javascript', () => { other.location = 'javascript:document.title="owned"'; return 'sent' }),
    ])`,
    )
    const other = await opening
    const { javascript, ...reads } = reached
    t.same([...new Set(Object.values(reads))], ['SecurityError'], JSON.stringify(reached))
    t.ok(javascript === 'sent' || javascript === 'SecurityError')
    await other.waitForLoadState()
    t.not(await other.title(), 'owned')
    t.ok(other.url().startsWith(target))
    await worksForAlice(t)
  },
)

t.test('service workers: houston’s worker controls only houston', async (t) => {
  const { own, target, page, worksForAlice } = await startBoth(t)
  const outcomes = await inPage<string[]>(
    page,
    `const outcomes = []
    for (const [script, scope] of [[target + '/worker.js', '/'], [target + '/api/worker.js', '/'], ['/worker.js', target + '/']])
      outcomes.push(await navigator.serviceWorker.register(script, { scope }).then(() => 'registered', ({ name }) => name))
    return outcomes`,
  )
  t.notOk(outcomes.includes('registered'), outcomes.join(', '))
  const registered = await inPage<string>(
    page,
    `await navigator.serviceWorker.register('/worker.js', { scope: '/' })
    await navigator.serviceWorker.ready
    return 'registered'`,
  )
  t.equal(registered, 'registered')
  await until('houston’s page to be its worker’s', async () => {
    await page.goto(own)
    return (await page.textContent('body')) === 'owned'
  })
  await page.goto(`${target}/`)
  t.equal(await page.textContent('h1'), 'secret of research')
  await worksForAlice(t)
})

t.test('cookies: houston cannot sign alice in as another user, or out', async (t) => {
  const { houston, research, page, worksForAlice } = await startBoth(t)
  const [foreign, other] = [
    await houston.workspace.token('mallory'),
    await research.workspace.token('somebody-else'),
  ]
  const wide = `; Domain=${DOMAIN}; Path=/; Secure`
  await page.evaluate(`document.cookie = 'planted=1${wide}'`)
  for (const token of [foreign, other, 'nonsense']) {
    for (const name of [
      '__Host-workspace_session',
      '__host-workspace_session',
      'workspace_session',
      ' __Host-workspace_session',
      '\u2000__Host-workspace_session',
      '$Version=1; __Host-workspace_session',
    ]) {
      for (const path of ['/', '/api', '/terminal'])
        await page.evaluate(
          `document.cookie = ${JSON.stringify(`${name}=${token}${wide.replace('Path=/', `Path=${path}`)}`)}`,
        )
    }
    await page.evaluate(
      `document.cookie = ${JSON.stringify(`=__Host-workspace_session=${token}${wide}`)}`,
    )
    await page.evaluate(`document.cookie = ${JSON.stringify(`__Host-workspace_session${wide}`)}`)
    await worksForAlice(t)
  }
  const sent = research.dashboard.requests.flatMap(({ headers }) =>
    (headers.cookie ?? '').split('; '),
  )
  t.ok(sent.includes('planted=1'), 'cookies of houston do reach research')
  const tokens = [foreign, other]
  const carriers = sent.filter((pair) => tokens.some((token) => pair.includes(token)))
  t.same([...new Set(carriers.map((pair) => pair.split('=')[0]))], [], 'but none with a token')
})

t.test('a browser recovers from too many cookies after one error', async (t) => {
  const { research, target, page, worksForAlice } = await startBoth(t)
  for (let i = 0; i < 40; i++)
    await page.evaluate(
      `document.cookie = 'bomb${i}=' + 'x'.repeat(4000) + '; Domain=${DOMAIN}; Path=/; Secure; Max-Age=86400'`,
    )
  const before = research.asked().length
  const first = await page.goto(`${target}/`)
  t.equal(first?.status(), 431, 'no request fits any more')
  t.equal(research.asked().length, before)
  const second = await page.goto(`${target}/`)
  t.equal(second?.status(), 401, 'its answer has cleared the cookies; the session went with them')
  await chromium.signIn(page, target, await research.workspace.token('alice'))
  await worksForAlice(t)
})
