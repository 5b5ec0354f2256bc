/** How is a path written to the log? Cut to a maximum length, with `[token]` in place of all that looks like a token. */

/** The longest path that is logged, in characters. A longer one is cut and ends with `…`. */
export const MAX_LOGGED_PATH = 512

/** A maximal run of the characters of base64url and of API tokens. */
const RUN = /[A-Za-z0-9_-]+/g
const RUN_HERE = /[A-Za-z0-9_-]*/y

const API_TOKEN = /hub_[A-Za-z0-9]{8,}/g

/** The shortest run, from its `eyJ` on, that is taken for the header of a token: `eyJ` is `{"` in base64url. */
const MIN_JWS_HEADER = 7

/**
 * The path of a request for the log, without tokens, because a token that is pasted into the address bar becomes a path.
 * The time is linear in the length of the result: every request is logged, refused ones too, so no client may make a log line
 * expensive. The path is therefore cut first, and the beginning of a token at the cut is removed like a whole token.
 */
export function loggedPath(path: string): string {
  if (path.length <= MAX_LOGGED_PATH) return withoutHiddenTokens(path, false)
  return `${withoutHiddenTokens(path.slice(0, MAX_LOGGED_PATH), true)}…`
}

/**
 * Removes tokens, also tokens with escaped characters. If the path has such a token, the whole path is returned unescaped.
 */
function withoutHiddenTokens(path: string, isCut: boolean): string {
  const kept = withoutTokens(path, isCut)
  if (!kept.includes('%')) return kept
  const bare = unescaped(kept)
  const bareKept = withoutTokens(bare, isCut)
  return bareKept === bare ? kept : bareKept
}

/** Decodes escapes of printable ASCII characters, as often as there are any: a character may complete another escape. */
function unescaped(text: string): string {
  const characters: string[] = []
  for (const character of text) {
    characters.push(character)
    while (characters.at(-3) === '%') {
      const hex = `${characters.at(-2)}${characters.at(-1)}`
      if (!PRINTABLE.test(hex)) break
      characters.splice(-3, 3, String.fromCharCode(Number.parseInt(hex, 16)))
    }
  }
  return characters.join('')
}

/** The hexadecimal number of a printable ASCII character. */
const PRINTABLE = /^[2-7][0-9A-Fa-f]$/

/**
 * Removes tokens from a text: each compact JWS (`eyJ….….…`) and each API token (`hub_…`). It makes one pass over the runs.
 * One regular expression for a whole JWS would start again at every `eyJ` of a run, which took 350 ms for 16 KiB of
 * `eyJeyJ…`.
 * @param isCut whether the text was cut, so that a token at its end may be incomplete
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

/**
 * The index in a run at which a JWS header begins, or an API token that is glued to the header; undefined without a header.
 */
function jwsStart(run: string, isCut: boolean): number | undefined {
  const start = run.indexOf('eyJ')
  if (start < 0 || (!isCut && run.length - start < MIN_JWS_HEADER)) return undefined
  const apiToken = run.search(API_TOKEN)
  return apiToken >= 0 && apiToken < start ? apiToken : start
}

/**
 * The index at which a JWS ends whose header ends at `headerEnd`; undefined without a payload. The signature may be empty.
 */
function jwsEnd(text: string, headerEnd: number, isCut: boolean): number | undefined {
  const isOver = (at: number) => isCut && at === text.length
  if (isOver(headerEnd)) return headerEnd
  if (text[headerEnd] !== '.') return undefined
  const payloadEnd = runEnd(text, headerEnd + 1)
  if (isOver(payloadEnd)) return payloadEnd
  if (payloadEnd === headerEnd + 1 || text[payloadEnd] !== '.') return undefined
  return runEnd(text, payloadEnd + 1)
}

/** The index at which the run that begins at `start` ends; `start` itself when there is no run. */
function runEnd(text: string, start: number): number {
  RUN_HERE.lastIndex = start
  RUN_HERE.test(text)
  return RUN_HERE.lastIndex
}
