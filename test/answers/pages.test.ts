/** Are the gateway's own pages complete, safe and clear? */
import { createHash } from 'node:crypto'
import t from 'tap'
import { DETAILS } from '../../src/answers/details.ts'
import { ERRORS, type ErrorCode } from '../../src/answers/errors.ts'
import { escapeHtml } from '../../src/answers/html.ts'
import { errorPage } from '../../src/answers/pages/error-page.ts'
import { SCRIPT_FILES } from '../../src/answers/pages/scripts.ts'
import { PageShell, type PageContent } from '../../src/answers/pages/shell.ts'
import {
  renewPage,
  sessionEndedPage,
  signedOutPage,
  signInPage,
  signInQuestionPage,
  usedTicketPage,
} from '../../src/answers/pages/sign-in-pages.ts'
import { PAGES } from '../helpers/pages.ts'

const CODES = Object.keys(ERRORS) as ErrorCode[]

/** The page that asks before it signs in, with one text in every place that takes one. */
const questionOf = (text: string) =>
  signInQuestionPage({
    subject: text,
    token: text,
    returnTo: text,
    state: text,
    inUrl: true,
    replaced: text,
  })

/** The pages for people who sign in, stay in or sign out, with one text in every place that takes one. */
const sessionPages = (text: string) => [
  signInPage({ problem: text, returnTo: text, loginHref: text }),
  sessionEndedPage({ returnTo: text, loginHref: text }),
  usedTicketPage({ problem: text, returnTo: text }),
  usedTicketPage({ problem: text, returnTo: text, loginHref: text }),
  renewPage({ problem: text, returnTo: text }),
  renewPage({ returnTo: text, loginHref: text }),
  questionOf(text),
  signedOutPage(true),
  signedOutPage(false),
]

/** The page of an error in every form: with and without time to wait, repeatable or not, of a service or not. */
const errorPages = (code: ErrorCode, requestId = 'id-1', detail = DETAILS[code]) =>
  [{}, { retryAfter: 7 }, { retryAfter: 7, repeatable: true }].flatMap((rest) => [
    errorPage(code, { requestId, detail, ...rest }),
    errorPage(code, { requestId, detail, ...rest, service: 'dashboard' }),
  ])

const CONTENTS: readonly PageContent[] = [
  ...CODES.flatMap((code) => errorPages(code)),
  signInPage({ returnTo: '/' }),
  sessionEndedPage({ returnTo: '/' }),
  signInPage({ problem: DETAILS['token-invalid'], returnTo: '/' }),
  ...sessionPages('/logs'),
]

/** The HTML of a page, without blanks between its elements. */
const htmlOf = (content: PageContent) => PAGES.render(content).html.replaceAll(/(?<=>) +(?=<)/g, '')

t.test(
  'the policy allows the page’s own style and the scripts it names, and nothing else',
  async (t) => {
    for (const content of CONTENTS) {
      const { html, policy } = PAGES.render(content)
      const styles = [...html.matchAll(/<style>([^]*?)<\/style>/g)]
      t.equal(styles.length, 1)
      const hash = createHash('sha256')
        .update(styles[0]?.[1] ?? '')
        .digest('base64')
      const directives = new Map(
        policy.split('; ').map((text): [string, string] => {
          const [name = '', ...sources] = text.split(' ')
          return [name, sources.join(' ')]
        }),
      )
      const nonces = new Set(
        [...html.matchAll(/<script type="module" nonce="([^"]+)"/g)].map(([, nonce]) => nonce),
      )
      const [nonce] = nonces
      t.equal(nonces.size, (content.scripts ?? []).length > 0 ? 1 : 0)
      t.same(Object.fromEntries(directives), {
        'default-src': "'none'",
        'style-src': `'sha256-${hash}'`,
        'img-src': 'data:',
        'form-action': "'self'",
        'base-uri': "'none'",
        'frame-ancestors': "'none'",
        ...(nonce === undefined
          ? {}
          : { 'script-src': `'nonce-${nonce}'`, 'connect-src': "'self'" }),
      })
    }
  },
)

t.test('a nonce is new for each page, and has 128 bits', async (t) => {
  const [content] = errorPages('rate-limited').slice(-1)
  const nonces = Array.from(
    { length: 50 },
    () => /'nonce-([^']+)'/.exec(PAGES.render(content as PageContent).policy)?.[1],
  )
  t.equal(new Set(nonces).size, 50)
  for (const nonce of nonces) t.equal(Buffer.from(nonce ?? '', 'base64').length, 16)
})

t.test('behind a form a redirect may lead to the origins that are named', async (t) => {
  const pages = new PageShell({ workspace: 'houston', formOrigins: ['https://login.example'] })
  t.match(
    pages.render(signInPage({ returnTo: '/' })).policy,
    "; form-action 'self' https://login.example; ",
  )
})

t.test('every page contains its icon, so that browsers do not request one', async (t) => {
  for (const content of CONTENTS) {
    const [link, ...more] = [...htmlOf(content).matchAll(/<link[^>]*>/g)].map(([text]) => text)
    t.same(more, [])
    const [, icon = ''] =
      /^<link rel="icon" href="data:image\/svg\+xml,([^"]+)">$/.exec(link ?? '') ?? []
    const drawn = decodeURIComponent(icon)
    t.match(
      drawn,
      /^<svg xmlns="[^"]+" viewBox="[^"]+" fill="[^"]+">(?:<(\w+)[^<>]+><\/\1>)+<\/svg>$/,
    )
    t.notMatch(drawn, /<script|href|on[a-z]+=/)
  }
})

t.test('every page names the workspace, and has one heading', async (t) => {
  for (const content of CONTENTS) {
    const page = htmlOf(content)
    t.match(page, `<title>${escapeHtml(content.title)} &middot; houston</title>`)
    t.match(page, '<bdi>houston</bdi>')
    t.equal(page.match(/<h1>/g)?.length, 1)
    t.match(page, '<html lang="en">')
    t.ok(Buffer.byteLength(page) < 30_000, 'under 30 KB')
  }
})

t.test('a page that requests its address again says when', async (t) => {
  const words = { requestId: 'id-1', detail: 'Words.' }
  t.notMatch(htmlOf(errorPage('upstream-timeout', words)), /http-equiv|by itself/)
  for (const [retryAfter, text] of [
    [1, '1 second'],
    [10, '10 seconds'],
  ] as const) {
    const page = htmlOf(errorPage('upstream-timeout', { ...words, retryAfter, repeatable: true }))
    t.equal(page.match(/http-equiv/g)?.length, 1)
    t.ok(page.includes(`<meta http-equiv="refresh" content="${retryAfter}">`), 'no address in it')
    t.notMatch(page, '<noscript>')
    t.ok(page.includes(`<p>This page tries again by itself in ${text}.</p>`))
    const once = htmlOf(errorPage('upstream-timeout', { ...words, retryAfter }))
    t.notMatch(once, 'http-equiv', 'not what a form has sent')
  }
})

t.test('where a script knows better when, the browser does it only without scripts', async (t) => {
  const words = { requestId: 'id-1', detail: 'Words.', retryAfter: 7, repeatable: true }
  for (const [code, script, service] of [
    ['rate-limited', 'countdown', undefined],
    ['upstream-unreachable', 'waking', 'dashboard'],
  ] as const) {
    const page = htmlOf(errorPage(code, { ...words, service }))
    t.match(page, '<noscript><meta http-equiv="refresh" content="7"></noscript>')
    t.match(
      page,
      new RegExp(
        `<script type="module" nonce="[^"]+" src="/_gateway/assets/${script}-[\\w-]{12}\\.js"></script>`,
      ),
    )
    t.match(page, '<a class="button', 'and the person, at any time')
  }
  const once = htmlOf(errorPage('rate-limited', { ...words, repeatable: false }))
  t.notMatch(once, /http-equiv|data-repeats/)
  t.match(once, 'Go back')
})

t.test('pages load their scripts, and nothing else', async (t) => {
  const files = [...SCRIPT_FILES.keys()].map((file) => `/_gateway/assets/${file}`)
  for (const content of CONTENTS) {
    const page = htmlOf(content)
    const scripts = page.match(/<script[^>]*>/g) ?? []
    t.equal(scripts.length, (content.scripts ?? []).length)
    for (const script of scripts) t.ok(files.includes(/ src="([^"]+)"/.exec(script)?.[1] ?? ''))
    t.notMatch(page, /\son[a-z]+=|javascript:|<iframe|@import|url\(|\sstyle=/i)
    t.same(
      [...page.matchAll(/(?:href|action)="([^"]*)"/g)]
        .map(([, address = '']) => address)
        .filter((address) => !address.startsWith('data:'))
        .filter(
          (address) =>
            !['', '/', '/logs', '/_gateway/sign-in', '/_gateway/renew'].includes(address),
        ),
      [],
    )
  }
})

t.test('an error page shows what happened, what to do, and the request id', async (t) => {
  for (const code of CODES) {
    const page = htmlOf(errorPage(code, { requestId: 'request-id-7', detail: DETAILS[code] }))
    t.ok(page.includes(`<p>${escapeHtml(DETAILS[code])}</p>`))
    t.ok(page.includes(`<h1>${escapeHtml(ERRORS[code].title)}</h1>`))
    t.ok(page.includes(`${code} &middot; request-id-7`))
    // On a host that is not served, / gets the same error.
    t.equal(page.includes('To the dashboard'), code !== 'host-not-served', code)
  }
})

t.test('the sign-in form posts the token, and never puts it into a URL', async (t) => {
  const page = htmlOf(signInPage({ returnTo: '/logs' }))
  t.match(page, /<form method="post" action="\/_gateway\/sign-in">/)
  t.match(page, /<input id="token" name="token" type="password" required/)
  t.match(page, /<label for="token">/)
  t.match(page, /<input type="hidden" name="return_to" value="\/logs">/)
  t.equal(page.match(/<form/g)?.length, 1)
})

t.test('the page that asks posts everything with one button, and names the person', async (t) => {
  const page = htmlOf(questionOf('alice'))
  t.equal(page.match(/<form/g)?.length, 1)
  t.equal(page.match(/<button/g)?.length, 1)
  t.match(page, '<button>Sign in as <bdi>alice</bdi></button>', 'no key presses it by mistake')
  for (const name of ['token', 'return_to', 'state'])
    t.ok(page.includes(`<input type="hidden" name="${name}" value="alice">`), name)
  t.ok(page.includes('<input type="hidden" name="from" value="link">'))
})

t.test('no text that is inserted into a page can break its HTML', async (t) => {
  for (const text of [
    '<script>',
    '"><img src=x onerror=alert(1)>',
    "' onfocus='alert(1)",
    '&lt;',
    '</style><script>',
  ])
    for (const content of [
      ...errorPages('bad-request', text, text),
      ...errorPages('upstream-unreachable', text, text),
      ...sessionPages(text),
    ]) {
      const page = htmlOf(content)
      t.notOk(page.includes(text), text)
      t.equal(page.match(/</g)?.length, page.match(/<(?=[a-z/!])/g)?.length)
    }
})
