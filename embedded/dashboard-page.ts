/** What is the HTML of the dashboard's pages? The functions here build it; scripts fill in live figures later. */
import { html, trusted, type Html } from '../src/answers/html.ts'
import { BRAND } from '../src/answers/pages/door.ts'

/** The signed-in user and the workspace; null where the gateway sent no such header. */
export interface Visitor {
  user: string | null
  workspace: string | null
}

/** The page at `/`: the machine, the terminal, the agent and the echo. */
export function homePage(visitor: Visitor): string {
  return page(visitor, {
    title: 'Dashboard',
    path: '/',
    scripts: ['stats', 'agent', 'echo'],
    main: home(visitor),
  })
}

/** The page at `/about`, which explains the stand-ins. */
export function aboutPage(visitor: Visitor): string {
  const main = html`<article class="prose">
    <h1>About this workspace</h1>
    <p class="lead">
      You are looking at a stand-in. It takes the place of the four services behind the gateway, so
      that a fresh checkout shows the whole of it at work.
    </p>
    <dl>
      <div>
        <dt><code>/</code></dt>
        <dd>The dashboard: this page, and the one before.</dd>
      </div>
      <div>
        <dt><code>/terminal</code></dt>
        <dd>A real shell on this machine, behind a user name and password of its own.</dd>
      </div>
      <div>
        <dt><code>/api</code></dt>
        <dd>An agent that repeats what it is told: models, chat, event streams, WebSockets.</dd>
      </div>
      <div>
        <dt><code>/health</code></dt>
        <dd>This machine's real figures, for anybody who asks.</dd>
      </div>
    </dl>
    <p>
      Every request of yours passed the gateway first. It checked who you are, how often you ask and
      what you ask for, and only then asked one of the services. Addresses get ten requests a
      minute; pages like this one, opened by a signed-in browser, do not count towards them.
    </p>
    <p>
      To put a service of your own in place of a stand-in, name it before you start, for example
      <code>GATEWAY_DASHBOARD_URL=http://127.0.0.1:3001</code>.
    </p>
    <p><a class="button" href="/">Back to the dashboard</a></p>
  </article>`
  return page(visitor, { title: 'About', path: '/about', main })
}

/** The page for every other path. */
export function notFoundPage(visitor: Visitor): string {
  const main = html`<article class="prose">
    <h1>There is nothing here</h1>
    <p class="lead">The address may be misspelt, or the page has moved.</p>
    <p><a class="button" href="/">Go to the dashboard</a></p>
  </article>`
  return page(visitor, { title: 'Not found', path: '', main })
}

interface Content {
  title: string
  path: string
  main: Html
  scripts?: readonly string[]
}

/** The pages of the workspace, in the order of the bar. */
const LINKS = [
  ['/', 'Dashboard'],
  ['/terminal', 'Terminal'],
  ['/about', 'About'],
  ['/_gateway/', 'Account'],
] as const

function page(visitor: Visitor, { title, path, main, scripts = [] }: Content): string {
  const workspace = visitor.workspace ?? 'Workspace'
  const links = LINKS.map(
    ([href, text]) => html`<a href="${href}" ${href === path ? CURRENT : undefined}>${text}</a>`,
  )
  const modules = scripts.map(
    (name) => html`<script type="module" src="/assets/${name}.js"></script>`,
  )
  return `<!doctype html>${
    html`<html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <title>${title} · ${workspace}</title>
        <link rel="icon" href="/assets/icon.svg" />
        <link rel="stylesheet" href="/assets/dashboard.css" />
        ${modules}
      </head>
      <body>
        <a class="skip" href="#main">Skip to the content</a>
        <header class="top">
          <a class="brand" href="/">${BRAND}<bdi>${workspace}</bdi></a>
          <nav aria-label="Pages">${links}</nav>
          ${account(visitor)}
        </header>
        <main id="main" tabindex="-1">${main}</main>
        <footer>Served by the workspace's stand-ins, through the gateway.</footer>
      </body>
    </html>`.text
  }\n`
}

const CURRENT = trusted('aria-current="page"')

function account({ user }: Visitor): Html {
  if (user === null) return html`<p class="account">Nobody is signed in</p>`
  return html`<form class="account" method="post" action="/_gateway/sign-out">
    <span class="who" title="Signed in as ${user}"
      ><span class="hidden">Signed in as </span>${user}</span
    >
    <button class="quiet" type="submit">Sign out</button>
  </form>`
}

function home({ workspace }: Visitor): Html {
  return html`<div class="hero">
      <h1><bdi>${workspace ?? 'Your workspace'}</bdi></h1>
      <p id="live" class="live" role="status">Asking the machine how it is…</p>
    </div>
    <section aria-labelledby="machine">
      <h2 id="machine" class="hidden">This machine</h2>
      <div class="cards">
        ${figure('cpu', 'Processor', CHART)} ${figure('memory', 'Memory', bar('memory', 'Memory'))}
        ${figure('disk', 'Disk', bar('disk', 'Disk'))}
        <div class="card">
          <h3>Running for</h3>
          <p class="figure" id="uptime">–</p>
          <p class="note" id="processes">&nbsp;</p>
        </div>
      </div>
    </section>
    <div class="columns">
      <section class="card agent" aria-labelledby="agent-title">
        <h2 id="agent-title">Ask the agent</h2>
        <p class="note">
          Sent to <code>/api/v1/chat/completions</code>; the answer comes word by word.
        </p>
        ${log('agent-log', 'Conversation', 'Nothing said yet.')}
        <form id="agent-form" class="line">
          <label class="hidden" for="agent-text">Your message</label>
          <input
            id="agent-text"
            name="text"
            placeholder="Say something"
            autocomplete="off"
            required
            maxlength="500"
          />
          <button type="submit">Send</button>
        </form>
      </section>
      <div class="stack">
        <a class="card terminal" href="/terminal">
          <span class="screen" aria-hidden="true"><b>$</b> uptime<i></i></span>
          <span class="terminal-text"
            ><strong>Open the terminal</strong><span>A real shell in your browser</span></span
          >
        </a>
        <section class="card" aria-labelledby="echo-title">
          <h2 id="echo-title">WebSocket echo</h2>
          <p class="note">
            One line to <code>/api/ws</code> that stays open for as long as you are signed in.
          </p>
          ${log('echo-log', 'Messages', 'Not connected.')}
          <form id="echo-form" class="line">
            <label class="hidden" for="echo-text">Message</label>
            <input
              id="echo-text"
              name="text"
              placeholder="Message"
              autocomplete="off"
              required
              maxlength="500"
              disabled
            />
            <button type="submit" id="echo-send" disabled>Send</button>
            <button type="button" id="echo-switch" class="quiet">Connect</button>
          </form>
        </section>
      </div>
    </div>
    <noscript><p class="note">The live figures and the two panels need JavaScript.</p></noscript>`
}

function log(id: string, label: string, empty: string): Html {
  return html`<div id="${id}" class="log" role="log" aria-label="${label}" tabindex="0">
    <p class="empty">${empty}</p>
  </div>`
}

function figure(id: string, title: string, picture: Html): Html {
  return html`<div class="card">
    <h3>${title}</h3>
    <p class="figure" id="${id}">–</p>
    ${picture}
    <p class="note" id="${id}-note">&nbsp;</p>
  </div>`
}

const CHART = html`<svg
  class="chart"
  id="cpu-chart"
  viewBox="0 0 100 30"
  aria-hidden="true"
  preserveAspectRatio="none"
>
  <path></path>
  <polyline></polyline>
</svg>`

function bar(id: string, title: string): Html {
  return html`<div
    class="bar"
    id="${id}-bar"
    role="meter"
    aria-label="${title} in use"
    aria-valuemin="0"
    aria-valuemax="100"
    aria-valuenow="0"
  >
    <span></span>
  </div>`
}
