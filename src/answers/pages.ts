/**
 * Which page does a person see when the gateway itself responds? An error page or the sign-in page. They contain fixed texts
 * only; of a request, at most its id and a verified path are inserted.
 */
import { createHash } from 'node:crypto'
import { inSeconds } from './details.ts'
import { ERRORS, type ErrorCode } from './errors.ts'

const STYLE = `
:root{color-scheme:light dark;--ink:#1c1b22;--soft:#5f5d6b;--paper:#f6f5f1;--card:#fff;--line:#e2e0d8;--accent:#3b4cca;--bad:#a3271d}
@media(prefers-color-scheme:dark){:root{--ink:#eceaf2;--soft:#a5a2b3;--paper:#16151b;--card:#201f27;--line:#35333f;--accent:#98a5ff;--bad:#ff9d92}}
*{box-sizing:border-box}body{margin:0;min-height:100vh;display:grid;place-items:center;padding:1.5rem;background:var(--paper);color:var(--ink);font:1rem/1.55 system-ui,sans-serif}
main{width:100%;max-width:26rem;background:var(--card);border:1px solid var(--line);border-radius:14px;padding:2rem}
h1{font-size:1.35rem;line-height:1.25;margin:0 0 .5rem;letter-spacing:-.01em}p{margin:.5rem 0;color:var(--soft)}
p.bad{color:var(--bad)}label{display:block;margin:1.25rem 0 .35rem;font-weight:600;font-size:.9rem}
input{width:100%;padding:.65rem .75rem;font:inherit;color:inherit;background:var(--paper);border:1px solid var(--line);border-radius:8px}
button,a.button{display:block;margin-top:1rem;width:100%;padding:.7rem;font:inherit;font-weight:600;text-align:center;text-decoration:none;overflow-wrap:anywhere;color:var(--card);background:var(--accent);border:0;border-radius:8px;cursor:pointer}
bdi{font-weight:600;overflow-wrap:anywhere}p bdi{color:var(--ink)}a{color:var(--accent)}:focus-visible{outline:3px solid var(--accent);outline-offset:2px}code{font-size:.85em;color:var(--soft)}
`

const STYLE_HASH = createHash('sha256').update(STYLE).digest('base64')

/** The Content-Security-Policy of the gateway's pages: no scripts, no external resources, forms only to the same origin. */
export const PAGE_POLICY = `default-src 'none'; style-src 'sha256-${STYLE_HASH}'; img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'`

/**
 * The icon is inside the page, so that the browser does not request `/favicon.ico`. That request would count against the rate
 * limit and would go to the dashboard.
 */
const ICON = `data:image/svg+xml,${encodeURIComponent(
  '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><path fill="#3b4cca" d="M3 1h10v14H3z"/><circle cx="10.5" cy="8" r="1.2" fill="#fff"/></svg>',
)}`

/** The content of an error page, besides its title. */
export interface ErrorWords {
  /** Shown on the page, so that an operator can find the request in the log. */
  readonly requestId: string
  /** The sentence that says what was wrong and what to do. */
  readonly detail: string
  /** Seconds until the page reloads itself. When undefined, it does not. */
  readonly reloadSeconds?: number | undefined
}

const DASHBOARD_LINK = '<p><a href="/">To the dashboard</a></p>'

/** Errors for which a link to `/` is useless, because it would give the same error. */
const HAS_NO_DASHBOARD: ReadonlySet<ErrorCode> = new Set(['host-not-served'])

/** Builds the page of an error. */
export function errorPage(
  code: ErrorCode,
  { requestId, detail, reloadSeconds }: ErrorWords,
): string {
  const reload = reloadSeconds === undefined ? '' : reloadNote(reloadSeconds)
  return page(
    ERRORS[code].title,
    `<p>${escapeHtml(detail)}</p>${reload}<p><code>${escapeHtml(code)} · ${escapeHtml(requestId)}</code></p>${HAS_NO_DASHBOARD.has(code) ? '' : DASHBOARD_LINK}`,
    reloadSeconds,
  )
}

function reloadNote(seconds: number): string {
  return `<p>This page tries again by itself in ${inSeconds(seconds)}.</p>`
}

/** What a page with a form for a token shows. */
export interface TokenForm {
  /** What went wrong; undefined when nothing did. */
  readonly problem?: string | undefined
  /** The path to return to, already verified. */
  readonly returnTo: string
  /** The address of the login page, from which the browser comes back; undefined when tokens are only pasted here. */
  readonly loginHref?: string | undefined
}

/** How somebody without a token gets in. `npm start` is in a checkout, where the command has another name. */
const NEW_LINK =
  '<p>On the machine, <code>workspace-gateway sign-in-link --sub NAME</code> prints a link that signs in; after <code>npm start</code>, <code>npm run sign-in-link</code> does. Open it in this browser.</p>'

/** Builds the built-in sign-in page. */
export function signInPage({ problem, returnTo, loginHref }: TokenForm): string {
  return page(
    'Sign in to this workspace',
    `${loginLink(loginHref)}<p>${loginHref === undefined ? 'Paste' : 'Or paste'} the token of this workspace. It signs in once; the session stays in a cookie of this browser until it expires.</p>${alert(problem)}
${tokenForm('/_gateway/sign-in', returnTo, 'Sign in')}${loginHref === undefined ? NEW_LINK : ''}`,
  )
}

/** Builds the page of a sign-in link that was used before. */
export function usedTicketPage({ problem, returnTo, loginHref }: TokenForm): string {
  const way =
    loginHref === undefined
      ? `${NEW_LINK}<p>A new token can be pasted here:</p>
${tokenForm('/_gateway/sign-in', returnTo, 'Sign in')}`
      : button(loginHref, 'Sign in again')
  return page(
    ERRORS['ticket-used'].title,
    `${alert(problem)}${way}
<p>Signed in already? <a href="${escapeHtml(returnTo)}">Go on to the workspace</a>.</p>`,
  )
}

/** Builds the page with which a session is renewed. */
export function renewPage({ problem, returnTo, loginHref }: TokenForm): string {
  return page(
    'Stay signed in',
    `<p>A new token moves the end of this session. Open terminals and tabs go on.</p>${alert(problem)}${loginLink(loginHref)}
${tokenForm('/_gateway/renew', returnTo, 'Stay signed in')}
<p><a href="${escapeHtml(returnTo)}">Back</a></p>`,
  )
}

/** A sign-in that the person shall confirm, because nothing proves that they asked for it. */
export interface SignInQuestion {
  /** `sub` of the ticket. */
  readonly subject: string
  /** The ticket, verified and not used up. */
  readonly token: string
  readonly returnTo: string
  /** The state that the browser gets with this page. */
  readonly state: string
  /** Whether the ticket came in a URL, so that it works once. */
  readonly inUrl: boolean
  /** Whose session in this browser would end; undefined when there is none of another person. */
  readonly replaced: string | undefined
}

/**
 * Builds the page that asks whether this browser shall be signed in, with one button that posts the same fields. The button
 * has no focus, so that a key that the person pressed on another page does not press it.
 */
export function signInQuestionPage(question: SignInQuestion): string {
  const { subject, token, returnTo, state, inUrl, replaced } = question
  const other =
    replaced === undefined
      ? ''
      : `<p>You are signed in as ${personOf(replaced)} now. That session ends.</p>`
  const fields = { token, return_to: returnTo, state, ...(inUrl ? { from: 'link' } : {}) }
  return page(
    'Sign in to this workspace?',
    `<p>This signs you in as ${personOf(subject)}.</p>${other}
<p>Go on only if you asked for it. A link from somebody else could sign you in as them, and they would see what you do.</p>
<form method="post" action="/_gateway/sign-in">${hiddenFields(fields)}
<button>Sign in as ${personOf(subject)}</button></form>`,
  )
}

const UNSAVED_END =
  'The workspace cannot write to its disk now. The session is over, and the workspace keeps trying to save that; until it has, a restart of the workspace could bring the session back.'

/** Builds the page after signing out. @param isSaved whether the end of the session is on the disk */
export function signedOutPage(isSaved: boolean): string {
  return page(
    'You are signed out',
    `<p>The session is over: its terminals and connections were closed. API tokens of programs go on until they are revoked.</p>${alert(isSaved ? undefined : UNSAVED_END)}
${button('/', 'Sign in again')}`,
  )
}

/** What went wrong, for the top of a page; nothing when nothing did. */
function alert(problem: string | undefined): string {
  return problem === undefined ? '' : `<p class="bad" role="alert">${escapeHtml(problem)}</p>`
}

function tokenForm(action: string, returnTo: string, label: string): string {
  return `<form method="post" action="${action}">${hiddenFields({ return_to: returnTo })}
<label for="token">Workspace token</label><input id="token" name="token" type="password" required autofocus autocomplete="current-password" spellcheck="false">
<button>${label}</button></form>`
}

function hiddenFields(fields: Readonly<Record<string, string>>): string {
  return Object.entries(fields)
    .map(([name, value]) => `<input type="hidden" name="${name}" value="${escapeHtml(value)}">`)
    .join('')
}

function loginLink(href: string | undefined): string {
  return href === undefined ? '' : button(href, 'Sign in with your account')
}

/** A link that looks like a button. */
function button(href: string, label: string): string {
  return `<p><a class="button" href="${escapeHtml(href)}">${label}</a></p>`
}

/** A subject, kept apart from the text around it, which letters of another direction would else reorder. */
function personOf(subject: string): string {
  return `<bdi>${escapeHtml(subject)}</bdi>`
}

/** @param reloadSeconds seconds until the browser reloads the page, by a meta element, since the policy allows no script */
function page(title: string, body: string, reloadSeconds?: number): string {
  const reload =
    reloadSeconds === undefined ? '' : `<meta http-equiv="refresh" content="${reloadSeconds}">`
  return `<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1"><meta name="robots" content="noindex">${reload}<link rel="icon" href="${ICON}"><title>${escapeHtml(title)}</title><style>${STYLE}</style></head><body><main><h1>${escapeHtml(title)}</h1>${body}</main></body></html>\n`
}

/** Escapes text for HTML content and quoted attributes. */
export function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (char) => `&#${char.charCodeAt(0)};`)
}
