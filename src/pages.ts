/** What does a person see when the gateway answers itself? Static pages: nothing of the request is ever put into them. */
import { createHash } from 'node:crypto'
import { ERRORS, type ErrorCode } from './errors.ts'

const STYLE = `
:root{color-scheme:light dark;--ink:#1c1b22;--soft:#5f5d6b;--paper:#f6f5f1;--card:#fff;--line:#e2e0d8;--accent:#3b4cca;--bad:#a3271d}
@media(prefers-color-scheme:dark){:root{--ink:#eceaf2;--soft:#a5a2b3;--paper:#16151b;--card:#201f27;--line:#35333f;--accent:#98a5ff;--bad:#ff9d92}}
*{box-sizing:border-box}body{margin:0;min-height:100vh;display:grid;place-items:center;padding:1.5rem;background:var(--paper);color:var(--ink);font:1rem/1.55 system-ui,sans-serif}
main{width:100%;max-width:26rem;background:var(--card);border:1px solid var(--line);border-radius:14px;padding:2rem}
h1{font-size:1.35rem;line-height:1.25;margin:0 0 .5rem;letter-spacing:-.01em}p{margin:.5rem 0;color:var(--soft)}
p.bad{color:var(--bad)}label{display:block;margin:1.25rem 0 .35rem;font-weight:600;font-size:.9rem}
input{width:100%;padding:.65rem .75rem;font:inherit;color:inherit;background:var(--paper);border:1px solid var(--line);border-radius:8px}
button{margin-top:1rem;width:100%;padding:.7rem;font:inherit;font-weight:600;color:var(--card);background:var(--accent);border:0;border-radius:8px;cursor:pointer}
a{color:var(--accent)}:focus-visible{outline:3px solid var(--accent);outline-offset:2px}code{font-size:.85em;color:var(--soft)}
`

const STYLE_HASH = createHash('sha256').update(STYLE).digest('base64')

/** The policy of every page of ours: no script, no foreign resource, forms only to ourselves. */
export const PAGE_POLICY = `default-src 'none'; style-src 'sha256-${STYLE_HASH}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'`

/** What a person can do about it, beneath the title. */
const ADVICE: Partial<Record<ErrorCode, string>> = {
  'bad-request':
    'If a link or a form brought you here, go back and try again. Reloading also clears a damaged session.',
  'bad-target': 'Check the address for stray characters.',
  'sensitive-file': 'Files that hold secrets are not reachable through this door, for anyone.',
  'origin-not-allowed': 'The page that sent this request does not belong to this workspace.',
  'host-not-served': 'Check the name in the address bar.',
  'rate-limited': 'Wait a moment, then reload.',
  'upstream-unreachable': 'It may still be starting. Reload in a few seconds.',
  'upstream-busy': 'Reload in a few seconds.',
  'upstream-timeout': 'Reload to try again.',
  draining: 'It will be back in a few seconds.',
}

/** A page for an error. @param requestId shown so that an operator can find the request in the log */
export function errorPage(code: ErrorCode, requestId: string): string {
  const advice = ADVICE[code]
  const words = advice === undefined ? '' : `<p>${escapeHtml(advice)}</p>`
  return page(
    ERRORS[code].title,
    `${words}<p><code>${escapeHtml(code)} · ${escapeHtml(requestId)}</code></p><p><a href="/">To the dashboard</a></p>`,
  )
}

/**
 * The built-in sign-in page.
 * @param code why a previous attempt failed, or undefined
 * @param returnTo a path of this origin, already verified
 */
export function signInPage(
  code: 'token-invalid' | 'token-expired' | undefined,
  returnTo: string,
): string {
  const failed =
    code === undefined ? '' : `<p class="bad" role="alert">${escapeHtml(ERRORS[code].title)}.</p>`
  return page(
    'Sign in to this workspace',
    `<p>Paste the token of this workspace. It stays in a cookie of this browser until it expires.</p>${failed}
<form method="post" action="/_gateway/sign-in"><input type="hidden" name="return_to" value="${escapeHtml(returnTo)}">
<label for="token">Workspace token</label><input id="token" name="token" type="password" required autofocus autocomplete="current-password" spellcheck="false">
<button>Sign in</button></form>`,
  )
}

function page(title: string, body: string): string {
  return `<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1"><meta name="robots" content="noindex"><title>${escapeHtml(title)}</title><style>${STYLE}</style></head><body><main><h1>${escapeHtml(title)}</h1>${body}</main></body></html>\n`
}

/** Text made safe for HTML content and quoted attributes. */
export function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (char) => `&#${char.charCodeAt(0)};`)
}
