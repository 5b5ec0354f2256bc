/** What is the HTML of the dashboard's pages? The functions here build it; scripts fill in live figures later. */

/** The signed-in user and the workspace; null where the gateway sent no such header. */
export interface Visitor {
  user: string | null
  workspace: string | null
}

/** The page at `/`: the machine, the terminal, the agent and the echo. */
export function homePage(visitor: Visitor): string {
  const scripts = ['stats', 'agent', 'echo'].map(
    (name) => `<script type="module" src="/assets/${name}.js"></script>`,
  )
  return page(visitor, {
    title: 'Dashboard',
    path: '/',
    head: scripts.join('\n'),
    main: home(visitor),
  })
}

/** The page at `/about`, which explains the stand-ins. */
export function aboutPage(visitor: Visitor): string {
  const main = `<article class="prose">
<h1>About this workspace</h1>
<p class="lead">You are looking at a stand-in. It takes the place of the four services behind the gateway, so that a fresh
checkout shows the whole of it at work.</p>
<dl>
<div><dt><code>/</code></dt><dd>The dashboard: this page, and the one before.</dd></div>
<div><dt><code>/terminal</code></dt><dd>A real shell on this machine, behind a user name and password of its own.</dd></div>
<div><dt><code>/api</code></dt><dd>An agent that repeats what it is told: models, chat, event streams, WebSockets.</dd></div>
<div><dt><code>/health</code></dt><dd>This machine's real figures, for anybody who asks.</dd></div>
</dl>
<p>Every request of yours passed the gateway first. It checked who you are, how often you ask and what you ask for, and
only then asked one of the services. Addresses get ten requests a minute; pages like this one, opened by a signed-in
browser, do not count towards them.</p>
<p>To put a service of your own in place of a stand-in, name it before you start, for example
<code>GATEWAY_DASHBOARD_URL=http://127.0.0.1:3001</code>.</p>
<p><a class="button" href="/">Back to the dashboard</a></p>
</article>`
  return page(visitor, { title: 'About', path: '/about', main })
}

/** The page for every other path. */
export function notFoundPage(visitor: Visitor): string {
  const main = `<article class="prose">
<h1>There is nothing here</h1>
<p class="lead">The address may be misspelt, or the page has moved.</p>
<p><a class="button" href="/">Go to the dashboard</a></p>
</article>`
  return page(visitor, { title: 'Not found', path: '', main })
}

/** Escapes text for HTML content and quoted attributes. */
function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`)
}

interface Content {
  title: string
  path: string
  main: string
  head?: string
}

function page(visitor: Visitor, { title, path, main, head = '' }: Content): string {
  const workspace = escapeHtml(visitor.workspace ?? 'Workspace')
  const link = (href: string, text: string) =>
    `<a href="${href}"${href === path ? ' aria-current="page"' : ''}>${text}</a>`
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${title} · ${workspace}</title>
<link rel="icon" href="/assets/icon.svg">
<link rel="stylesheet" href="/assets/dashboard.css">
${head}
</head>
<body>
<a class="skip" href="#main">Skip to the content</a>
<header class="top">
<a class="brand" href="/"><img src="/assets/icon.svg" alt="" width="28" height="28"><span>${workspace}</span></a>
<nav aria-label="Pages">${link('/', 'Dashboard')}${link('/terminal', 'Terminal')}${link('/about', 'About')}</nav>
${account(visitor)}
</header>
<main id="main">
${main}
</main>
<footer>Served by the workspace's stand-ins, through the gateway.</footer>
</body>
</html>
`
}

function account({ user }: Visitor): string {
  if (user === null) return '<p class="account">Nobody is signed in</p>'
  return `<form class="account" method="post" action="/_gateway/sign-out">
<span class="who" title="Signed in as ${escapeHtml(user)}"><span class="hidden">Signed in as </span>${escapeHtml(user)}</span>
<button class="quiet" type="submit">Sign out</button>
</form>`
}

function home({ workspace }: Visitor): string {
  return `<div class="hero">
<h1>${escapeHtml(workspace ?? 'Your workspace')}</h1>
<p id="live" class="live" role="status">Asking the machine how it is…</p>
</div>
<section aria-labelledby="machine">
<h2 id="machine" class="hidden">This machine</h2>
<div class="cards">
${gauge('cpu', 'Processor')}
${gauge('memory', 'Memory')}
${gauge('disk', 'Disk')}
<div class="card"><h3>Running for</h3><p class="figure" id="uptime">–</p><p class="note" id="processes">&nbsp;</p></div>
</div>
</section>
<div class="columns">
<section class="card agent" aria-labelledby="agent-title">
<h2 id="agent-title">Ask the agent</h2>
<p class="note">Sent to <code>/api/v1/chat/completions</code>; the answer comes word by word.</p>
<div id="agent-log" class="log" role="log" aria-label="Conversation" tabindex="0"><p class="empty">Nothing said yet.</p></div>
<form id="agent-form" class="line">
<label class="hidden" for="agent-text">Your message</label>
<input id="agent-text" name="text" placeholder="Say something" autocomplete="off" required maxlength="500">
<button type="submit">Send</button>
</form>
</section>
<div class="stack">
<a class="card terminal" href="/terminal">
<span class="screen" aria-hidden="true"><b>$</b> uptime<i></i></span>
<span class="terminal-text"><strong>Open the terminal</strong><span>A real shell in your browser</span></span>
</a>
<section class="card" aria-labelledby="echo-title">
<h2 id="echo-title">WebSocket echo</h2>
<p class="note">One line to <code>/api/ws</code> that stays open for as long as you are signed in.</p>
<div id="echo-log" class="log short" role="log" aria-label="Messages" tabindex="0"><p class="empty">Not connected.</p></div>
<form id="echo-form" class="line">
<label class="hidden" for="echo-text">Message</label>
<input id="echo-text" name="text" placeholder="Message" autocomplete="off" required maxlength="500" disabled>
<button type="submit" id="echo-send" disabled>Send</button>
<button type="button" id="echo-switch" class="quiet">Connect</button>
</form>
</section>
</div>
</div>
<noscript><p class="note">The live figures and the two panels need JavaScript.</p></noscript>`
}

function gauge(id: string, title: string): string {
  const chart =
    id === 'cpu'
      ? '<svg class="chart" id="cpu-chart" viewBox="0 0 100 30" aria-hidden="true" preserveAspectRatio="none"><path/><polyline/></svg>'
      : ''
  const bar =
    id === 'cpu'
      ? ''
      : `<div class="bar" id="${id}-bar" role="meter" aria-label="${title} in use" aria-valuemin="0" aria-valuemax="100" aria-valuenow="0"><span></span></div>`
  return `<div class="card"><h3>${title}</h3><p class="figure" id="${id}">–</p>${chart}${bar}<p class="note" id="${id}-note">&nbsp;</p></div>`
}
