/**
 * Which page does a person see who signs in, stays in or signs out? They contain fixed texts; of a request, at most a verified
 * path, a verified name and the ticket that was sent.
 */
import { ERRORS } from '../errors.ts'
import { html, type Html } from '../html.ts'
import { alert, button, hiddenFields, personOf } from './elements.ts'
import { RENEW, SIGN_IN } from './paths.ts'
import type { PageContent } from './shell.ts'

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
const NEW_LINK = html`<p>
  On the machine, <code>workspace-gateway sign-in-link --sub NAME</code> prints a link that signs
  in; after <code>npm start</code>, <code>npm run sign-in-link</code> does. Open it in this browser.
</p>`

/** Builds the built-in sign-in page. */
export function signInPage(form: TokenForm): PageContent {
  return { title: 'Sign in to this workspace', main: waysIn(form) }
}

/** Builds the page of a browser whose session has ended. */
export function sessionEndedPage(form: TokenForm): PageContent {
  return {
    title: 'Your session has ended',
    main: html`<p>Sign in again, and you come back to where you were.</p>
      ${waysIn(form)}`,
  }
}

/** Builds the page of a sign-in link that was used before. */
export function usedTicketPage({ problem, returnTo, loginHref }: TokenForm): PageContent {
  const way =
    loginHref === undefined
      ? html`${NEW_LINK}
          <p>A new token can be pasted here:</p>
          ${tokenForm(SIGN_IN, returnTo, 'Sign in')}`
      : button(loginHref, 'Sign in again')
  return {
    title: ERRORS['ticket-used'].title,
    main: html`${alert(problem)}${way}
      <p>Signed in already? <a href="${returnTo}">Go on to the workspace</a>.</p>`,
  }
}

/** Builds the page with which a session is renewed. */
export function renewPage({ problem, returnTo, loginHref }: TokenForm): PageContent {
  return {
    title: 'Stay signed in',
    main: html`<p>A new token moves the end of this session. Open terminals and tabs go on.</p>
      ${alert(problem)}${loginLink(loginHref)}${tokenForm(RENEW, returnTo, 'Stay signed in')}
      <p><a href="${returnTo}">Back</a></p>`,
  }
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
export function signInQuestionPage(question: SignInQuestion): PageContent {
  const { subject, token, returnTo, state, inUrl, replaced } = question
  const other =
    replaced === undefined
      ? undefined
      : html`<p>You are signed in as ${personOf(replaced)} now. That session ends.</p>`
  const fields = { token, return_to: returnTo, state, ...(inUrl ? { from: 'link' } : {}) }
  return {
    title: 'Sign in to this workspace?',
    main: html`<p>This signs you in as ${personOf(subject)}.</p>
      ${other}
      <p>
        Go on only if you asked for it. A link from somebody else could sign you in as them, and
        they would see what you do.
      </p>
      <form method="post" action="${SIGN_IN}">
        ${hiddenFields(fields)}<button>Sign in as ${personOf(subject)}</button>
      </form>`,
  }
}

const UNSAVED_END =
  'The workspace cannot write to its disk now. The session is over, and the workspace keeps trying to save that; until it has, a restart of the workspace could bring the session back.'

/** Builds the page after signing out. @param isSaved whether the end of the session is on the disk */
export function signedOutPage(isSaved: boolean): PageContent {
  return {
    title: 'You are signed out',
    main: html`<p>
        The session is over: its terminals and connections were closed. API tokens of programs go on
        until they are revoked.
      </p>
      ${alert(isSaved ? undefined : UNSAVED_END)}${button('/', 'Sign in again')}`,
  }
}

/** The ways to sign in: the login page, if there is one, and a token in a form. */
function waysIn({ problem, returnTo, loginHref }: TokenForm): Html {
  return html`${loginLink(loginHref)}
    <p>
      ${loginHref === undefined ? 'Paste' : 'Or paste'} the token of this workspace. It signs in
      once; the session stays in a cookie of this browser until it expires.
    </p>
    ${alert(problem)}${tokenForm(SIGN_IN, returnTo, 'Sign in')}${loginHref === undefined ? NEW_LINK : undefined}`
}

function tokenForm(action: string, returnTo: string, label: string): Html {
  return html`<form method="post" action="${action}">
    ${hiddenFields({ return_to: returnTo })}<label for="token">Workspace token</label
    ><input
      id="token"
      name="token"
      type="password"
      required
      autofocus
      autocomplete="current-password"
      spellcheck="false"
    /><button>${label}</button>
  </form>`
}

function loginLink(href: string | undefined): Html | undefined {
  return href === undefined ? undefined : button(href, 'Sign in with your account')
}
