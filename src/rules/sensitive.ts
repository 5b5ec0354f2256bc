/**
 * Does a request name a file that must never leave the workspace? The path and the query are searched for sensitive file names,
 * also for encoded and disguised ones.
 */
import { namesFile } from './file-parameters.ts'
import type { Target } from './target.ts'

/** A pattern for file names. */
export interface FilePattern {
  /** Whether the pattern matches a name, which must be folded already (see `fold`). */
  readonly matches: (name: string) => boolean
  /** A text that every matching name contains. A text without it can be skipped quickly. */
  readonly part: string
  /** The only name that the pattern matches; undefined for a pattern with a star. */
  readonly literal: string | undefined
}

/** The maximum number of times that a path or a query value is decoded (contract, section 5). */
const DECODE_LAYERS = 3

/** Whether a name is one of the built-in sensitive names, which no setting can remove. */
function isBuiltIn(name: string): boolean {
  return (
    name.endsWith('.env') ||
    /^\.env\.(?!example(?:$|[;:?#%\0\ufffd]))/.test(name) ||
    name === 'openclaw.json' ||
    name.endsWith('.vault.enc') ||
    name.endsWith('.key')
  )
}

/** Whether a name can only be a sensitive file. `process.env` and `user.key` can be other things too, so they do not qualify. */
function isUnmistakable(name: string): boolean {
  return (
    isBuiltIn(name) && !name.endsWith('.key') && (name.startsWith('.env') || !name.endsWith('.env'))
  )
}

// Characters at which some program ends a file name: path parameters, alternate streams, queries, fragments, NUL, and broken
// escapes or bytes.
const TAIL = /[;:?#%\0\ufffd]/

/** Every built-in name contains one of these texts after decoding and folding. */
const NAMED = /\.env|\.key|\.vault\.enc|openclaw\.json/

/** A raw target that contains none of these, and no escapes, cannot name a built-in file and is not checked further. */
const SUSPECT = /%|\\[ux]|\.env|\.key|\.vault\.enc|openclaw\.json/i

/**
 * Parses a configured pattern: a file name in which `*` matches any characters. The pattern is folded like the names that it
 * is compared with. It is not compiled to a regular expression, because `*a*a*a*b` would take polynomial time on a long name.
 * @throws {Error} with the problem as text
 */
export function parseFilePattern(text: string): FilePattern {
  if (/[/\\]/.test(text))
    throw new Error(`"${text}" has a slash: a pattern is matched against one file name`)
  const folded = trimName(fold(text))
  if (/^[*.?]*$/.test(folded)) throw new Error(`"${text}" would match every file`)
  const pieces = folded.split('*')
  const part = pieces.reduce((longest, piece) => (piece.length > longest.length ? piece : longest))
  const [first = '', ...more] = pieces
  const last = more.pop()
  if (last === undefined) return { matches: (name) => name === first, part, literal: first }
  const matches = (name: string) => {
    if (!name.startsWith(first)) return false
    let at = first.length
    for (const piece of more) {
      const found = name.indexOf(piece, at)
      if (found < 0) return false
      at = found + piece.length
    }
    return name.length - last.length >= at && name.endsWith(last)
  }
  return { matches, part, literal: undefined }
}

/**
 * Whether a target names a sensitive file: as a segment of its path, or in a part of its query that can be a file name. Every
 * form of the text is checked: as sent, and after each of at most three rounds of decoding.
 */
export function namesSensitiveFile(
  { path, query }: Target,
  added: readonly FilePattern[],
): boolean {
  if (added.length === 0 && !SUSPECT.test(path) && !SUSPECT.test(query)) return false
  const names = new Names(added)
  return names.inPath(path) || names.inQuery(query)
}

/** Searches a path or a query for sensitive names: the built-in ones and the configured ones. */
class Names {
  readonly #added: readonly FilePattern[]

  constructor(added: readonly FilePattern[]) {
    this.#added = added
  }

  inPath(path: string): boolean {
    if (!this.#isSuspect(path)) return false
    return formsOf(path).some(
      (form) => this.#mayName(form) && segmentsOf(form).some((segment) => this.#isFile(segment)),
    )
  }

  inQuery(query: string): boolean {
    const text = query.slice(1).replaceAll('+', ' ')
    if (!this.#isSuspect(text)) return false
    if (!formsOf(text).some((form) => this.#mayName(form))) return false
    // Split into pairs before decoding, because a decoded `&` is part of a value.
    return text
      .split('&')
      .some(
        (pair) =>
          this.#isSuspect(pair) &&
          formsOf(pair).some((form) => this.#mayName(form) && this.#inPair(form)),
      )
  }

  /** Whether a `name=value` pair of the query, decoded and folded, names a sensitive file. */
  #inPair(pair: string): boolean {
    const equals = pair.indexOf('=')
    const name = equals < 0 ? pair : pair.slice(0, equals)
    const value = equals < 0 ? '' : pair.slice(equals + 1)
    // `?sort.key=1` names a property; `?/data/server.key=1`, `?.env=1` and `?server.key` name a file.
    const isNameless = /^=*$/.test(value)
    if (isNameless || /^\.|[/\\]/.test(name)) {
      if (this.#inValue(name, !isProse(name))) return true
    }
    return !isNameless && this.#inValue(value, namesFile(name))
  }

  /**
   * Whether a value names a sensitive file. A value with a slash can be a path, alone or inside JSON, a list or a command, so
   * each part is checked. In a value without a slash, a name counts only if its parameter or JSON member means a file, or if
   * the name can only be a file. A sentence may mention sensitive names.
   * @param isFile whether the parameter's name says that the value is a file
   */
  #inValue(value: string, isFile: boolean): boolean {
    if (isFile || /[/\\\0]/.test(value))
      return this.#endsInFile(value) || this.#partEndsInFile(value)
    if (isProse(value)) return this.#standsForFile(value)
    let member = ''
    let memberName = ''
    let isMember: boolean | undefined = false // undefined: not computed yet for this name
    return partsOf(value).some(({ text, isName, isIndex, isWhole }) => {
      if (this.#isFile(text)) {
        isMember ??= namesFile(memberName)
        if (isMember || (isWhole && this.#standsForFile(text))) return true
      }
      member = isIndex ? `${member} ${text}` : text // treat `path[0]` as one name
      if (isName) {
        memberName = member
        isMember = undefined
      }
      return false
    })
  }

  /** Whether a path leads to a sensitive file: by its last segment, or by one before a `..` (`.env/x/..`). */
  #endsInFile(path: string): boolean {
    if (!/[/\\]/.test(path)) return this.#isFile(path)
    const segments = segmentsOf(path)
    const last = segments.findLastIndex((segment) => trimName(headOf(segment)) !== '')
    const parent = segments.lastIndexOf('..')
    return segments.some((segment, i) => (i === last || i < parent) && this.#isFile(segment))
  }

  #partEndsInFile(value: string): boolean {
    const parts = value.match(PART) ?? []
    return parts[0] !== value && parts.some((part) => this.#mayName(part) && this.#endsInFile(part))
  }

  /** Whether a file system could read a folded segment as a sensitive name, with or without what follows a TAIL character. */
  #isFile(segment: string): boolean {
    if (!this.#mayName(segment)) return false
    const head = headOf(segment)
    if (this.#isName(trimName(head))) return true
    return head !== segment && this.#isName(trimName(segment))
  }

  #isName(name: string): boolean {
    return isBuiltIn(name) || this.#added.some(({ matches }) => matches(name))
  }

  /** Whether a text is a name that can only be a file. `.env: what is it?` is not: a tail with blanks is part of a sentence. */
  #standsForFile(text: string): boolean {
    const head = headOf(text)
    if (/\s/.test(text.slice(head.length).trim())) return false
    const name = trimName(head)
    if (isUnmistakable(name) && !/\s/.test(name)) return true
    return this.#added.some(({ literal }) => literal === name)
  }

  /** Whether a raw text could name a sensitive file after decoding. */
  #isSuspect(text: string): boolean {
    return SUSPECT.test(text) || (this.#added.length > 0 && this.#mayName(fold(text)))
  }

  /** Whether a decoded and folded text could contain a sensitive name. */
  #mayName(text: string): boolean {
    return NAMED.test(text) || this.#added.some(({ part }) => text.includes(part))
  }
}

/** A part of a value, between two separators. */
interface ValuePart {
  readonly text: string
  /** Whether the part is the name of the next part: a JSON member or a parameter. */
  readonly isName: boolean
  /** Whether the part is an index in brackets after the previous part (`path[0]`). */
  readonly isIndex: boolean
  /** Whether separators other than blanks surround the part. If so, it is not a word in a sentence. */
  readonly isWhole: boolean
}

// A run of characters of file names and paths. All other ASCII characters, Unicode white space and broken bytes are separators.
const PART = /[^\0-,:-@[\]^`{-\xa0\s\ufffd]+/g

/** Splits a value into the parts that can be file names: JSON, quotes, brackets, lists, pairs and command lines are split. */
function partsOf(value: string): ValuePart[] {
  const parts: ValuePart[] = []
  const matches = [...value.matchAll(PART)]
  let before = '"'
  for (const [i, { 0: text, index }] of matches.entries()) {
    const next = matches[i + 1]
    const after =
      next === undefined
        ? value.slice(index + text.length)
        : value.slice(index + text.length, next.index)
    parts.push({
      text,
      isName: /[=:]/.test(after),
      isIndex: before === '[' || before === '][',
      isWhole: before.trim() !== '' && (next === undefined || after.trim() !== ''),
    })
    before = after
  }
  return parts
}

/** Whether a value is a sentence: several words that are not enclosed in quotes or brackets. */
function isProse(value: string): boolean {
  const text = value.trim()
  return /\s/.test(text) && !(/^["'`[{(]/.test(text) && /["'`\]})]$/.test(text))
}

/** The non-empty segments of a path. */
function segmentsOf(path: string): string[] {
  return path.match(/[^/\\]+/g) ?? []
}

/** The forms of a text after each round of decoding and folding. */
function formsOf(text: string): string[] {
  const forms: string[] = []
  let form = text
  for (let layer = 1; layer <= DECODE_LAYERS; layer++) {
    const decoded = fold(unescape(decodeLoosely(form)))
    if (decoded === form) break
    forms.push(decoded)
    form = decoded
  }
  return forms.length === 0 ? [form] : forms
}

/** Decodes all percent-escapes and tolerates invalid bytes, so that garbage cannot hide a name (`.env%ff`). */
function decodeLoosely(text: string): string {
  if (!text.includes('%')) return text
  return text.replace(/(?:%[0-9A-Fa-f]{2})+/g, (run) =>
    Buffer.from(run.replaceAll('%', ''), 'hex').toString(),
  )
}

/** Decodes the character escapes of JSON and JavaScript: `\u002e`, `\u{2e}`, `\x2e`. */
function unescape(text: string): string {
  if (!text.includes('\\')) return text
  return text.replace(
    /\\(?:u([0-9a-f]{4})|u\{([0-9a-f]{1,4})\}|x([0-9a-f]{2}))/gi,
    (_, four?: string, braced?: string, two?: string) =>
      String.fromCharCode(Number.parseInt(four ?? braced ?? two ?? '', 16)),
  )
}

/**
 * Matches thirty combining marks in a row. Normalization sorts a run of marks in quadratic time. A joiner after every thirty, as
 * in Unicode's stream-safe text format (UAX #15 section 13), bounds the run; it is removed later with the invisible characters.
 */
const MARKS = /[\p{M}\uff9e\uff9f]{30}/gu

/** Removes differences that a file system may ignore: compatibility forms of letters, invisible characters, case. */
function fold(text: string): string {
  if (/^[\0-\x7f]*$/.test(text)) return text.toLowerCase()
  return text
    .replace(MARKS, '$&\u034f')
    .normalize('NFKC')
    .replace(/\p{Default_Ignorable_Code_Point}/gu, '')
    .toLowerCase()
}

/** A text up to its first TAIL character. */
function headOf(text: string): string {
  const tail = text.search(TAIL)
  return tail < 0 ? text : text.slice(0, tail)
}

/** Removes quotes, brackets, white space and control characters from both ends, and dots, commas and `+` from the right end. */
function trimName(name: string): string {
  // No regular expression: `[…]+$` takes quadratic time on a long run that is not at the end of the text.
  let start = 0
  let end = name.length
  while (start < end && isJunk(name.charAt(start), '"\'`([{<,')) start++
  while (end > start && isJunk(name.charAt(end - 1), '."\'`)]}>,+')) end--
  return name.slice(start, end)
}

function isJunk(char: string, marks: string): boolean {
  if (char <= ' ' || marks.includes(char)) return true
  return char >= '\x7f' && (char <= '\xa0' || char.trim() === '')
}
