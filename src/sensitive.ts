/** Does a request name a file that must never leave the workspace? Names in all their disguises, in path and query. */
import { DECODE_LAYERS, decodeOnce, type Target } from './target.ts'

/** Matches one file name, already folded. */
export type FilePattern = (name: string) => boolean

/** The patterns that no setting can remove. */
const BUILT_IN: FilePattern = (name) =>
  name.endsWith('.env') ||
  (name.startsWith('.env.') && name !== '.env.example') ||
  name === 'openclaw.json' ||
  name.endsWith('.vault.enc') ||
  name.endsWith('.key')

// Every built-in name contains one of these; a target without escapes and without them needs no second look.
const SUSPECT = /%|\.env|\.key|\.vault\.enc|openclaw\.json/i

/**
 * Parses an added pattern: a file name in which `*` stands for any run of characters, matched case-insensitively.
 * @throws {Error} saying what is wrong with it
 */
export function parseFilePattern(text: string): FilePattern {
  if (/[/\\]/.test(text))
    throw new Error(`"${text}" has a slash: a pattern is matched against one file name`)
  if (/^[*.?]*$/.test(text)) throw new Error(`"${text}" would match every file`)
  const source = text
    .toLowerCase()
    .split('*')
    .map((part) => part.replace(/[\\^$.*+?()[\]{}|]/g, String.raw`\$&`))
  const expression = new RegExp(`^${source.join('.*')}$`, 's')
  return (name) => expression.test(name)
}

/**
 * Whether a target names a sensitive file: as any segment of its path, or as the last segment of a query value (or of a
 * query name: Vite served `/x?.env`, CVE-2025-30208 and its kin). Looks at every form the text takes while it is decoded,
 * three times at most.
 */
export function namesSensitiveFile(target: Target, added: readonly FilePattern[]): boolean {
  if (added.length === 0 && !SUSPECT.test(target.path) && !SUSPECT.test(target.query)) return false
  const isSensitive = (name: string) => BUILT_IN(name) || added.some((pattern) => pattern(name))
  if (
    anyForm(target.decodedPath, (form) =>
      form.split(/[/\\]/).some((segment) => foldedNames(segment).some(isSensitive)),
    )
  )
    return true
  if (target.query.length < 2) return false
  return target.query
    .slice(1)
    .split(/[&=]/)
    .some((part) =>
      anyForm(part.replaceAll('+', ' '), (form) =>
        foldedNames(lastSegment(form)).some(isSensitive),
      ),
    )
}

function anyForm(text: string, test: (form: string) => boolean): boolean {
  let form: string | undefined = text
  for (let layer = 0; form !== undefined && layer <= DECODE_LAYERS; layer++) {
    if (test(form)) return true
    form = form.includes('%') ? (decodeOnce(form) ?? decodeLoosely(form)) : undefined
  }
  return false
}

/** Decodes the ASCII escapes of text whose other escapes are broken: `.env%ff` must not hide behind its own garbage. */
function decodeLoosely(text: string): string {
  return text.replace(/%([0-7][0-9A-Fa-f])/g, (_, hex: string) =>
    String.fromCharCode(Number.parseInt(hex, 16)),
  )
}

function lastSegment(value: string): string {
  const trimmed = trimEnd(value.normalize('NFKC'), isTail)
  return trimmed.slice(Math.max(trimmed.lastIndexOf('/'), trimmed.lastIndexOf('\\')) + 1)
}

/**
 * The names that a file system could take a segment for: compatibility forms of letters and invisible characters folded
 * away, lower case, without `;…`, `:…`, `?…`, `#…` or NUL tails, and without trailing dots, spaces and quotes.
 */
function foldedNames(segment: string): string[] {
  const folded = segment
    .normalize('NFKC')
    .replace(/[\u00ad\u200b-\u200f\u2060-\u2064\ufeff]/g, '')
    .toLowerCase()
  const head = folded.split(/[;:?#\0]/)[0] ?? ''
  return [trimName(head), trimName(folded)]
}

function trimName(name: string): string {
  let start = 0
  while (start < name.length && isOpening(name.charAt(start))) start++
  return trimEnd(name.slice(start), isTail)
}

// Not regular expressions: `[…]+$` takes quadratic time on a long run that does not end the text.
function trimEnd(text: string, drop: (char: string) => boolean): string {
  let end = text.length
  while (end > 0 && drop(text.charAt(end - 1))) end--
  return text.slice(0, end)
}

function isTail(char: string): boolean {
  return char <= ' ' || '/\\."\'`)]}>,\ufffd'.includes(char) || char.trim() === ''
}

function isOpening(char: string): boolean {
  return char <= ' ' || '"\'`([{<,'.includes(char)
}
