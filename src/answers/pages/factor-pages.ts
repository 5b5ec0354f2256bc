/** Which page does a person see who shows a second factor, or sets one up? */
import { html, type Html } from '../html.ts'
import { alert, button, hiddenFields, takenFrom, type Fields } from './elements.ts'
import {
  APP_FORM,
  CONFIRM_APP_FORM,
  CONFIRM_PASSKEY_FORM,
  OWNER_PAGE,
  PASSKEY_FORM,
  SIGN_OUT,
  verifyAddress,
} from './paths.ts'
import type { ScriptName } from './scripts.ts'
import type { PageContent } from './shell.ts'

/** With what a person can show that it is them. */
export interface FactorWays {
  /** Whether they have an authenticator app. */
  readonly hasApp: boolean
  /** Whether they have backup codes. */
  readonly hasBackupCodes: boolean
  /** The options for `navigator.credentials.get()`, when they have a passkey for this host. */
  readonly passkey: object | undefined
  /** What does not work at present, and what to do, a sentence or two for each. */
  readonly problems: readonly string[]
  /** Until when codes of the app are not taken, in ISO 8601; undefined when they are. */
  readonly lockedUntil: string | undefined
}

/** A form that wants a factor. */
export interface FactorForm {
  readonly action: string
  /** What the form sends besides. */
  readonly fields: Fields
  /** What its buttons say. */
  readonly label: string
  readonly ways: FactorWays
}

/** The forms in which a person shows a factor: one for a passkey, which needs a script, and one for codes. */
function factorForms({ action, fields, label, ways }: FactorForm): Html {
  const { hasApp, hasBackupCodes, passkey } = ways
  const hidden = hiddenFields(fields)
  const words = hasApp
    ? hasBackupCodes
      ? 'Code of your authenticator app, or a backup code'
      : 'Code of your authenticator app'
    : 'Backup code'
  const byPasskey =
    passkey === undefined
      ? undefined
      : html`<form
          method="post"
          action="${action}"
          data-passkey="get"
          data-options="${JSON.stringify(passkey)}"
        >
          ${hidden}<input type="hidden" name="passkey" value="" />
          <p class="problem" role="alert" hidden></p>
          <button type="button" hidden>${label} with a passkey</button>
          <noscript
            ><p>
              A passkey needs JavaScript. Use a code instead, or switch JavaScript on.
            </p></noscript
          >
        </form>`
  const byCode =
    hasApp || hasBackupCodes
      ? html`<form method="post" action="${action}">
          ${hidden}
          <label for="code">${words}</label>
          <input
            id="code"
            name="code"
            required
            maxlength="64"
            autocomplete="one-time-code"
            autocapitalize="characters"
            spellcheck="false"
            autofocus
          />
          <button class="${passkey === undefined ? '' : 'quiet'}">${label}</button>
        </form>`
      : undefined
  return html`${byPasskey}${byCode}`
}

/** What is wrong: with what was shown just now, or else with what the person has. */
function trouble(
  problem: string | undefined,
  { problems, lockedUntil }: FactorWays,
): readonly Html[] {
  const texts = problem === undefined ? problems : [problem]
  const alerts = texts.map((text) => html`<p class="alert" role="alert">${text}</p>`)
  if (lockedUntil === undefined) return alerts
  return [...alerts, html`<p>${takenFrom(lockedUntil)}</p>`]
}

/** The scripts that a page with {@link factorForms} wants. */
function factorScripts({ passkey }: FactorWays): readonly ScriptName[] {
  return passkey === undefined ? ['comfort'] : ['comfort', 'passkey']
}

/** What a page of the second factor says. */
interface FactorWords {
  /** The path to go on to, already verified. */
  readonly next: string
  /** What went wrong; undefined when nothing did. */
  readonly problem?: string | undefined
}

/** Builds the page on which a person shows a factor to go on. */
export function verifyPage({
  next,
  problem,
  ways,
}: FactorWords & { readonly ways: FactorWays }): PageContent {
  // In the address too, where it is found when the session has ended before the form is sent.
  const action = verifyAddress(next)
  return {
    title: 'Confirm that it is you',
    main: html`<p>This part of the workspace wants a second factor.</p>
      ${trouble(problem, ways)}${factorForms({ action, fields: { next }, label: 'Confirm', ways })}
      <p><a href="/">Back to the dashboard</a></p>`,
    scripts: factorScripts(ways),
  }
}

/**
 * Builds the page on which a person shows a factor for one act. It says which: a page of somebody else, or a script of the dashboard,
 * may have sent the form in the person's name.
 */
export function confirmPage({
  act,
  action,
  fields,
  ways,
  problem,
}: Omit<FactorForm, 'label'> & {
  /** The act, in a sentence without its full stop. */
  readonly act: string
  readonly problem?: string | undefined
}): PageContent {
  return {
    title: 'Confirm that it is you',
    main: html`<p>You are about to do this:</p>
      <p class="act"><strong>${act}.</strong></p>
      <p class="soft">
        It wants a second factor, for this time alone. Cancel if you did not ask for it.
      </p>
      ${trouble(problem, ways)}${factorForms({ action, fields, label: 'Confirm', ways })}
      <p><a href="${OWNER_PAGE}">Cancel</a></p>`,
    scripts: factorScripts(ways),
  }
}

const LOGIN_FACTOR_WANTED = html`<p>
  This part of the workspace wants a sign-in with a second factor, and yours had none, or it is too
  long ago.
</p>`

/** Builds the page for somebody who wants an act, has no factor, and whose sign-in is too long ago. */
export function freshSignInPage({
  loginHref,
}: {
  readonly loginHref: string | undefined
}): PageContent {
  return {
    title: 'Sign in again for this',
    main: html`<p>
        Nothing was done: this change wants a sign-in that is not older than 10 minutes, and yours
        is. Sign in again, and send it once more.
      </p>
      ${signInAgain(loginHref)}
      <p><a href="${OWNER_PAGE}">Cancel</a></p>`,
  }
}

/** How somebody gets a fresh sign-in: at the login page, or, without one, after signing out. */
function signInAgain(loginHref: string | undefined): Html {
  return loginHref === undefined
    ? html`<form method="post" action="${SIGN_OUT}">
        <button>Sign out, and sign in again</button>
      </form>`
    : button(loginHref, 'Sign in again')
}

/** Builds the page for somebody whose login service has to ask for the factor. */
export function loginFactorPage({
  next,
  problem,
  loginHref,
  verifyHref,
  requestId,
}: FactorWords & {
  readonly loginHref: string | undefined
  /** Where a factor that is kept here can be shown instead. */
  readonly verifyHref?: string | undefined
  /** Shown when the page is an error's, so that an operator can find the request in the log. */
  readonly requestId?: string | undefined
}): PageContent {
  return {
    title: 'A second factor is missing',
    main: html`${alert(problem) ?? LOGIN_FACTOR_WANTED}
      ${
        loginHref === undefined
          ? html`<p>Sign out, and sign in again with one.</p>`
          : button(loginHref, 'Sign in with a second factor')
      }
      ${
        verifyHref === undefined
          ? undefined
          : html`<p><a href="${verifyHref}">Use a second factor that is kept here</a></p>`
      }
      <p><a href="${next}">Try again</a> &middot; <a href="/">Back to the dashboard</a></p>
      ${
        requestId === undefined
          ? undefined
          : html`<p class="about"><code>step-up-required &middot; ${requestId}</code></p>`
      }`,
  }
}

/** Builds the page for somebody who has no factor yet. @param mayEnrol whether their sign-in is fresh enough for a first one */
export function enrolPage({
  next,
  problem,
  mayEnrol,
  loginHref,
}: FactorWords & {
  readonly mayEnrol: boolean
  readonly loginHref: string | undefined
}): PageContent {
  const fields = hiddenFields({ next })
  const choices = html`<form method="post" action="${APP_FORM}">
      ${fields}<button>Set up an authenticator app</button>
    </form>
    <form method="post" action="${PASSKEY_FORM}">
      ${fields}<button class="quiet">Set up a passkey</button>
    </form>
    <p class="small soft">
      An app shows a new code every 30 seconds. A passkey is kept by this device or your password
      manager, and needs no typing. You can have both.
    </p>`
  const again = html`<p>
      A first factor can be set up within 10 minutes after signing in, and yours is longer ago.
    </p>
    ${signInAgain(loginHref)}`
  return {
    title: 'Set up a second factor',
    main: html`<p>
        This part of the workspace wants one, so that a stolen session is not enough to open it.
      </p>
      ${alert(problem)}${mayEnrol ? choices : again}
      <p><a href="/">Back to the dashboard</a></p>`,
    scripts: ['comfort'],
  }
}

/** An authenticator app that is being set up. */
export interface AppSetUp {
  readonly id: string
  /** The secret in Base32, in groups that can be typed. */
  readonly secret: string
  /** `otpauth:` (Key URI Format). */
  readonly uri: string
  /** The URI as a picture: SVG of our own. */
  readonly picture: Html
}

/** Builds the page that shows the secret of an authenticator app, and asks for its first code. */
export function appSetUpPage({
  next,
  problem,
  setUp,
}: FactorWords & { readonly setUp: AppSetUp }): PageContent {
  const { id, secret, uri, picture } = setUp
  return {
    title: 'Set up an authenticator app',
    main: html`<p>Scan this with the app, or <a href="${uri}">open it on this device</a>.</p>
      <div class="picture">${picture}</div>
      <details>
        <summary>Type it instead</summary>
        <code class="secret">${secret}</code>
      </details>
      ${alert(problem)}
      <form method="post" action="${CONFIRM_APP_FORM}">
        ${hiddenFields({ next, id })}
        <label for="code">The code that the app shows now</label>
        <input
          id="code"
          name="code"
          required
          inputmode="numeric"
          maxlength="16"
          autocomplete="one-time-code"
          autofocus
        />
        <button>Confirm</button>
      </form>
      <p><a href="${next}">Cancel</a></p>`,
    scripts: ['comfort'],
  }
}

/** Builds the page on which a passkey is made. @param options for `navigator.credentials.create()` */
export function passkeySetUpPage({
  next,
  problem,
  options,
}: FactorWords & { readonly options: object }): PageContent {
  return {
    title: 'Set up a passkey',
    main: html`<p>This device, a phone nearby, a security key or your password manager keeps it.</p>
      ${alert(problem)}
      <form
        method="post"
        action="${CONFIRM_PASSKEY_FORM}"
        data-passkey="create"
        data-options="${JSON.stringify(options)}"
      >
        ${hiddenFields({ next })}<input type="hidden" name="passkey" value="" />
        <label for="name">A name for it <small>(so that you can tell it from others)</small></label>
        <input id="name" name="name" maxlength="64" placeholder="this laptop" />
        <p class="problem" role="alert" hidden></p>
        <button type="button" hidden>Create the passkey</button>
        <noscript
          ><p>
            A passkey needs JavaScript. Set up an authenticator app instead, or switch JavaScript
            on.
          </p></noscript
        >
      </form>
      <p><a href="${next}">Cancel</a></p>`,
    scripts: ['comfort', 'passkey'],
  }
}

/** Builds the page that shows new backup codes, once. */
export function backupCodesPage({
  next,
  codes,
}: FactorWords & { readonly codes: readonly string[] }): PageContent {
  return {
    title: 'Keep your backup codes',
    main: html`<p>
        Each works once in place of the other factor, as when the phone is lost. They are not shown
        again: print them, or put them into a password manager.
      </p>
      <ol class="codes">
        ${codes.map((code) => html`<li><code>${code}</code></li>`)}
      </ol>
      ${button(next, 'I have kept them')}`,
  }
}
