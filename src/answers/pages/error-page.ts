/** Which page does a person see when a request is refused or fails? What happened in a sentence, what to do, and the request id. */
import { inSeconds } from '../details.ts'
import { ERRORS, type ErrorCode } from '../errors.ts'
import { html, type Html } from '../html.ts'
import type { PageContent } from './shell.ts'

/** The content of an error page, besides its title. */
export interface ErrorWords {
  /** Shown on the page, so that an operator can find the request in the log. */
  readonly requestId: string
  /** The sentence that says what was wrong and what to do. */
  readonly detail: string
  /** Seconds until a retry can help; undefined when it cannot. */
  readonly retryAfter?: number | undefined
  /** Whether the page may request its address again by itself, because that changes nothing. */
  readonly repeatable?: boolean | undefined
  /** The service that did not answer, by its name in src/rules/services.ts. */
  readonly service?: string | undefined
}

/** Errors for which a link to `/` is useless, because it would give the same error. */
const HAS_NO_DASHBOARD: ReadonlySet<ErrorCode> = new Set(['host-not-served'])

/** Builds the page of an error. */
export function errorPage(code: ErrorCode, words: ErrorWords): PageContent {
  const { requestId, detail } = words
  const { main, ...rest } = actOf(code, words)
  const toDashboard = HAS_NO_DASHBOARD.has(code)
    ? undefined
    : html`<p><a href="/">To the dashboard</a></p>`
  return {
    title: ERRORS[code].title,
    ...rest,
    main: html`<p>${detail}</p>
      ${main}${toDashboard}
      <p class="about"><code>${code} &middot; ${requestId}</code></p>`,
  }
}

/** What the person, or the page by itself, can do about an error. */
function actOf(
  code: ErrorCode,
  { retryAfter, repeatable = false, service }: ErrorWords,
): Pick<PageContent, 'main' | 'scripts' | 'reloadSeconds'> {
  if (retryAfter === undefined) return { main: html`` }
  if (code === 'rate-limited')
    return {
      main: countdown(retryAfter, repeatable),
      scripts: ['countdown'],
      reloadSeconds: repeatable ? retryAfter : undefined,
    }
  if (!repeatable) return { main: html`` }
  if (code === 'upstream-unreachable' && service !== undefined)
    return { main: waking(service, retryAfter), scripts: ['waking'], reloadSeconds: retryAfter }
  return { main: reloads(retryAfter), reloadSeconds: retryAfter }
}

function countdown(seconds: number, repeats: boolean): Html {
  return repeats
    ? html`<p>
        <a class="button" id="again" data-repeats data-seconds="${seconds}" href="">Try again</a>
      </p>`
    : html`<p>
          Nothing was done. Go back then, and send it again: browsers keep what was filled in.
        </p>
        <p><a class="button" id="again" data-seconds="${seconds}" href="/">Go back</a></p>`
}

function waking(service: string, seconds: number): Html {
  return html`<p id="waking" role="status" data-service="${service}">
      This page goes on by itself when it is up; it looks every ${inSeconds(seconds)} or sooner.
    </p>
    <div data-late hidden>
      <p>
        It has not come up for a minute. On the machine, <code>workspace-gateway doctor</code> says
        what is wrong; the log of the service says why it does not start.
      </p>
    </div>
    <p><a class="button quiet" href="">Try now</a></p>`
}

function reloads(seconds: number): Html {
  return html`<p>This page tries again by itself in ${inSeconds(seconds)}.</p>`
}
