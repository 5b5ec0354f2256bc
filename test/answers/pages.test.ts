/** Are the gateway's own pages complete, safe and clear? */
import { createHash } from 'node:crypto'
import * as fc from 'fast-check'
import t from 'tap'
import { DETAILS } from '../../src/answers/details.ts'
import { ERRORS, type ErrorCode } from '../../src/answers/errors.ts'
import {
  errorPage,
  escapeHtml,
  PAGE_POLICY,
  renewPage,
  signedOutPage,
  signInPage,
  signInQuestionPage,
  usedTicketPage,
} from '../../src/answers/pages.ts'
import { anyText } from '../helpers/any-text.ts'

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
  usedTicketPage({ problem: text, returnTo: text }),
  usedTicketPage({ problem: text, returnTo: text, loginHref: text }),
  renewPage({ problem: text, returnTo: text }),
  renewPage({ returnTo: text, loginHref: text }),
  questionOf(text),
  signedOutPage(true),
  signedOutPage(false),
]

const PAGES = [
  ...CODES.flatMap((code) => [
    errorPage(code, { requestId: 'id-1', detail: DETAILS[code] }),
    errorPage(code, { requestId: 'id-1', detail: DETAILS[code], reloadSeconds: 7 }),
  ]),
  signInPage({ returnTo: '/' }),
  signInPage({ problem: DETAILS['token-invalid'], returnTo: '/' }),
  signInPage({ problem: DETAILS['token-expired'], returnTo: '/' }),
  ...sessionPages('/logs'),
]

t.test('the policy allows the page’s own style, and nothing else', async (t) => {
  for (const page of PAGES) {
    const styles = [...page.matchAll(/<style>([^]*?)<\/style>/g)]
    t.equal(styles.length, 1)
    const hash = createHash('sha256')
      .update(styles[0]?.[1] ?? '')
      .digest('base64')
    t.ok(PAGE_POLICY.includes(`style-src 'sha256-${hash}'`))
  }
  for (const directive of [
    "default-src 'none'",
    'img-src data:',
    "form-action 'self'",
    "base-uri 'none'",
    "frame-ancestors 'none'",
  ])
    t.ok(PAGE_POLICY.split('; ').includes(directive), directive)
  t.notMatch(PAGE_POLICY, /unsafe|\*|https?:|script-src/)
})

t.test('every page contains its icon, so that browsers do not request one', async (t) => {
  for (const page of PAGES) {
    const [link, ...more] = [...page.matchAll(/<link[^>]*>/g)].map(([text]) => text)
    t.same(more, [])
    const [, icon = ''] =
      /^<link rel="icon" href="data:image\/svg\+xml,([^"]+)">$/.exec(link ?? '') ?? []
    t.match(decodeURIComponent(icon), /^<svg xmlns="[^"]+" viewBox="[^"]+">(?:<[^<>]+\/>)+<\/svg>$/)
    t.notMatch(decodeURIComponent(icon), /<script|href|on[a-z]+=/)
  }
})

t.test('a page that reloads itself states when, and requests the same address', async (t) => {
  const words = { requestId: 'id-1', detail: 'Words.' }
  const still = errorPage('upstream-unreachable', words)
  t.notMatch(still, /http-equiv|by itself/)
  for (const [reloadSeconds, text] of [
    [1, '1 second'],
    [10, '10 seconds'],
  ] as const) {
    const page = errorPage('upstream-unreachable', { ...words, reloadSeconds })
    t.equal(page.match(/http-equiv/g)?.length, 1)
    t.ok(
      page.includes(`<meta http-equiv="refresh" content="${reloadSeconds}">`),
      'no address in it',
    )
    t.ok(page.includes(`<p>This page tries again by itself in ${text}.</p>`))
  }
})

t.test('pages have no script and load nothing', async (t) => {
  for (const page of PAGES) {
    t.notMatch(page, /<script|\son[a-z]+=|javascript:|\bsrc=|<iframe|@import|url\(|\sstyle=/i)
    t.same(
      [...page.matchAll(/(?:href|action)="([^"]*)"/g)]
        .map(([, address = '']) => address)
        .filter((address) => !address.startsWith('data:'))
        .filter(
          (address) => !['/', '/logs', '/_gateway/sign-in', '/_gateway/renew'].includes(address),
        ),
      [],
    )
  }
})

t.test('an error page shows what happened, what to do, and the request id', async (t) => {
  for (const code of CODES) {
    const page = errorPage(code, { requestId: 'request-id-7', detail: DETAILS[code] })
    t.ok(page.includes(`<p>${escapeHtml(DETAILS[code])}</p>`))
    t.ok(page.includes(`<h1>${ERRORS[code].title}</h1>`))
    t.ok(page.includes(`${code} · request-id-7`))
    // On a host that is not served, / gets the same error.
    t.equal(page.includes('href="/"'), code !== 'host-not-served', code)
  }
})

t.test('the sign-in form posts the token, and never puts it into a URL', async (t) => {
  const page = signInPage({ returnTo: '/logs' })
  t.match(page, /<form method="post" action="\/_gateway\/sign-in">/)
  t.match(page, /<input id="token" name="token" type="password" required/)
  t.match(page, /<label for="token">/)
  t.match(page, /<input type="hidden" name="return_to" value="\/logs">/)
  t.equal(page.match(/<form/g)?.length, 1)
})

t.test('the page that asks posts everything with one button, and names the person', async (t) => {
  const page = questionOf('alice')
  t.equal(page.match(/<form/g)?.length, 1)
  t.equal(page.match(/<button/g)?.length, 1)
  t.match(page, '<button>Sign in as <bdi>alice</bdi></button>', 'no key presses it by mistake')
  for (const name of ['token', 'return_to', 'state'])
    t.ok(page.includes(`<input type="hidden" name="${name}" value="alice">`), name)
  t.ok(page.includes('<input type="hidden" name="from" value="link">'))
  t.notMatch(page, '<a ')
})

t.test('no text that is inserted into a page can break its HTML', async (t) => {
  for (const text of [
    '<script>',
    '"><img src=x onerror=alert(1)>',
    "' onfocus='alert(1)",
    '&lt;',
    '</style><script>',
  ]) {
    for (const page of [
      errorPage('bad-request', { requestId: text, detail: text }),
      ...sessionPages(text),
    ]) {
      t.notOk(page.includes(text), text)
      t.equal(page.match(/</g)?.length, page.match(/<(?=[a-z/!])/g)?.length)
    }
  }
  fc.assert(
    fc.property(anyText(), (text) => {
      const escaped = escapeHtml(text)
      const back = escaped.replaceAll(/&#([0-9]+);/g, (_, code) =>
        String.fromCharCode(Number(code)),
      )
      return !/[<>"']|&(?!#[0-9]+;)/.test(escaped) && back === text
    }),
  )
})
