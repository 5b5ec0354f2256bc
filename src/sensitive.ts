/** Does a request name a file that must never leave the workspace? Names in all their disguises, in path and query. */
import type { Target } from './target.ts'

/** Matches one file name, already folded. */
export type FilePattern = (name: string) => boolean

/** How often a path or a query value is decoded at most (contract, section 5). */
const DECODE_LAYERS = 3

/** The patterns that no setting can remove. */
const BUILT_IN: FilePattern = (name) =>
  name.endsWith('.env') ||
  /^\.env\.(?!example(?:$|[;:?#%\0\ufffd]))/.test(name) ||
  name === 'openclaw.json' ||
  name.endsWith('.vault.enc') ||
  name.endsWith('.key')

// Where a name ends for some reader: parameters, streams, queries, fragments, NUL, and escapes and bytes that are broken.
const TAIL = /[;:?#%\0\ufffd]/

// Every built-in name contains one of these; a target without escapes and without them needs no second look.
const SUSPECT = /%|\.env|\.key|\.vault\.enc|openclaw\.json/i

/**
 * Parses an added pattern: a file name in which `*` stands for any run of characters, folded like the names that it is
 * matched with. Not a regular expression inside: `*a*a*a*b` would take polynomial time on a long name.
 * @throws {Error} saying what is wrong with it
 */
export function parseFilePattern(text: string): FilePattern {
  if (/[/\\]/.test(text))
    throw new Error(`"${text}" has a slash: a pattern is matched against one file name`)
  const folded = trimName(fold(text))
  if (/^[*.?]*$/.test(folded)) throw new Error(`"${text}" would match every file`)
  const [first = '', ...more] = folded.split('*')
  const last = more.pop()
  if (last === undefined) return (name) => name === first
  return (name) => {
    if (!name.startsWith(first)) return false
    let at = first.length
    for (const part of more) {
      const found = name.indexOf(part, at)
      if (found < 0) return false
      at = found + part.length
    }
    return name.length - last.length >= at && name.endsWith(last)
  }
}

/**
 * Whether a target names a sensitive file: as any segment of its path, or as the last segment of a query value (or of a
 * query name that is a path itself: Vite served `/x?.env`, CVE-2025-30208 and its kin). Looks at every form the text takes
 * while it is decoded, three times at most.
 */
export function namesSensitiveFile(
  { path, query }: Target,
  added: readonly FilePattern[],
): boolean {
  const isSuspect = (text: string) => added.length > 0 || SUSPECT.test(text)
  if (!isSuspect(path) && !isSuspect(query)) return false
  const isSensitive = (segment: string) =>
    namesOf(segment).some((name) => BUILT_IN(name) || added.some((pattern) => pattern(name)))
  return (
    formsOf(path).some((form) => form.split(/[/\\]/).some(isSensitive)) ||
    formsOf(query.slice(1).replaceAll('+', ' ')).some((form) =>
      form
        .split(/[&?]/)
        .some((pair) => isSuspect(pair) && pathsOf(pair).flatMap(lastSegments).some(isSensitive)),
    )
  )
}

/** What may be a path in a pair of the query: the values, and the name where it has none or is written as a path. */
function pathsOf(pair: string): string[] {
  const [name = '', ...values] = pair.split('=')
  // `?sort.key=1` names a property, `?/data/server.key=1` and `?.env=1` a file.
  return values.every((value) => value === '') || /^\.|[/\\]/.test(name)
    ? [name, ...values]
    : values
}

/** What text becomes while it is decoded, folded each time. */
function formsOf(text: string): string[] {
  const forms: string[] = []
  let form = text
  for (let layer = 1; layer <= DECODE_LAYERS; layer++) {
    const decoded = fold(decodeLoosely(form))
    if (decoded === form) break
    forms.push(decoded)
    form = decoded
  }
  return forms.length === 0 ? [form] : forms
}

/** Decodes every escape that can be decoded: `.env%ff` must not hide behind its own garbage. */
function decodeLoosely(text: string): string {
  return text.replace(/(?:%[0-9A-Fa-f]{2})+/g, (run) =>
    Buffer.from(run.replaceAll('%', ''), 'hex').toString(),
  )
}

/** Folds away what a file system may not tell apart: compatibility forms of letters, invisible characters, case. */
function fold(text: string): string {
  if (/^[\0-\x7f]*$/.test(text)) return text.toLowerCase()
  return text
    .normalize('NFKC')
    .replace(/\p{Default_Ignorable_Code_Point}/gu, '')
    .toLowerCase()
}

/**
 * The segments that may be the last one of a path in a query: the last that is not blank, those that a tail follows
 * (`.env?x=/y`, `.env\0/y`), and those before a `..` (`.env/x/..`).
 */
function lastSegments(path: string): string[] {
  const segments = path.split(/[/\\]/)
  const last = segments.findLastIndex((segment) => trimName(headOf(segment)) !== '')
  const parent = segments.lastIndexOf('..')
  return segments.filter((segment, i) => i === last || i < parent || TAIL.test(segment))
}

/** The names that a file system could take a folded segment for: without and with a tail, nothing around them. */
function namesOf(segment: string): string[] {
  return [trimName(headOf(segment)), trimName(segment)]
}

/** A segment without its tail. */
function headOf(segment: string): string {
  return segment.split(TAIL, 1)[0] ?? ''
}

/** Takes quotes, brackets, white space and control characters off both ends, and dots and the like off the right one. */
function trimName(name: string): string {
  // Not regular expressions: `[…]+$` takes quadratic time on a long run that does not end the text.
  let start = 0
  let end = name.length
  while (start < end && isJunk(name.charAt(start), '"\'`([{<,')) start++
  while (end > start && isJunk(name.charAt(end - 1), '."\'`)]}>,+')) end--
  return name.slice(start, end)
}

function isJunk(char: string, marks: string): boolean {
  return (
    char <= ' ' || (char >= '\x7f' && char <= '\xa0') || marks.includes(char) || char.trim() === ''
  )
}
