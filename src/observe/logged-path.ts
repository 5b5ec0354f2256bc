/** How does a path stand in the log and in `explain`? Cut to a bound, with everything that has a credential's form left out. */

/** The longest path that is logged, in characters: a longer one is cut and ends with `…`. */
export const MAX_LOGGED_PATH = 512

/** Maximal runs of the characters that base64url and an API token are made of. */
const RUN = /[A-Za-z0-9_-]+/g
const RUN_HERE = /[A-Za-z0-9_-]*/y

const API_TOKEN = /hub_[A-Za-z0-9]{8,}/g

/** Characters of a run, from its `eyJ` on, that make it the header of a token: `eyJ` is `{"` in base64url. */
const MIN_JWS_HEADER = 7

/**
 * The path of a request, for the log. A token that is pasted into the address bar ends up in the path.
 * Linear in what is kept: every request is logged, refused ones too, so nobody may make a log line expensive. The cut comes
 * first, and therefore a token may have been cut: at the cut, the beginning of one is left out like a whole one.
 */
export function loggedPath(path: string): string {
  if (path.length <= MAX_LOGGED_PATH) return withoutHiddenTokens(path, false)
  return `${withoutHiddenTokens(path.slice(0, MAX_LOGGED_PATH), true)}…`
}

/** An escape of printable ASCII, however often its `%` was escaped in turn. */
const ESCAPE = /%(?:25)*([2-7][0-9A-Fa-f])/g

/** The same for a token whose characters are still escaped: then the whole path is written without escapes. */
function withoutHiddenTokens(path: string, isCut: boolean): string {
  const kept = withoutTokens(path, isCut)
  if (!kept.includes('%')) return kept
  const bare = kept.replace(ESCAPE, (_escape, hex: string) =>
    String.fromCharCode(Number.parseInt(hex, 16)),
  )
  const bareKept = withoutTokens(bare, isCut)
  return bareKept === bare ? kept : bareKept
}

/**
 * Text without tokens: a compact JWS (`eyJ….….…`) or an API token (`hub_…`).
 * One pass over the runs between other characters; a regular expression for the whole of a JWS would try every `eyJ` of a
 * run again, which took 350 ms for 16 KiB of `eyJeyJ…`.
 * @param isCut whether the text went on, so that a token at its end may be whole no more
 */
function withoutTokens(text: string, isCut: boolean): string {
  if (!text.includes('eyJ') && !text.includes('hub_')) return text
  let kept = ''
  let copied = 0
  for (let run = RUN.exec(text); run !== null; run = RUN.exec(text)) {
    const start = jwsStart(run[0], isCut && RUN.lastIndex === text.length)
    if (start === undefined) continue
    const end = jwsEnd(text, RUN.lastIndex, isCut)
    if (end === undefined) continue
    kept += `${text.slice(copied, run.index + start)}[token]`
    copied = end
    RUN.lastIndex = end
  }
  const rest = (kept + text.slice(copied)).replace(API_TOKEN, '[token]')
  return isCut ? rest.replace(/hub_[A-Za-z0-9]*$/, '[token]') : rest
}

/** Where in a run the header of a JWS begins, if one does; or an API token that runs into the header. */
function jwsStart(run: string, isCut: boolean): number | undefined {
  const start = run.indexOf('eyJ')
  if (start < 0 || (!isCut && run.length - start < MIN_JWS_HEADER)) return undefined
  const apiToken = run.search(API_TOKEN)
  return apiToken >= 0 && apiToken < start ? apiToken : start
}

/** Where the JWS ends whose header ends at an index: behind a payload and a signature, which may be empty. */
function jwsEnd(text: string, headerEnd: number, isCut: boolean): number | undefined {
  const isOver = (at: number) => isCut && at === text.length
  if (isOver(headerEnd)) return headerEnd
  if (text[headerEnd] !== '.') return undefined
  const payloadEnd = runEnd(text, headerEnd + 1)
  if (isOver(payloadEnd)) return payloadEnd
  if (payloadEnd === headerEnd + 1 || text[payloadEnd] !== '.') return undefined
  return runEnd(text, payloadEnd + 1)
}

/** Where the run that begins at an index ends; the index itself when none does. */
function runEnd(text: string, start: number): number {
  RUN_HERE.lastIndex = start
  RUN_HERE.test(text)
  return RUN_HERE.lastIndex
}
