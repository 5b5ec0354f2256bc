/** Does a request name a file that must never leave the workspace? Names in all their disguises, in path and query. */
import { namesFile } from './file-parameters.ts'
import type { Target } from './target.ts'

/** A pattern for file names. */
export interface FilePattern {
  /** Whether a name, already folded, is one of these. */
  readonly matches: (name: string) => boolean
  /** A text that every matching name contains: what does not contain it needs no second look. */
  readonly part: string
  /** The one name that it matches; undefined for a pattern with a star. */
  readonly literal: string | undefined
}

/** How often a path or a query value is decoded at most (contract, section 5). */
const DECODE_LAYERS = 3

/** The names that no setting can remove. */
function isBuiltIn(name: string): boolean {
  return (
    name.endsWith('.env') ||
    /^\.env\.(?!example(?:$|[;:?#%\0\ufffd]))/.test(name) ||
    name === 'openclaw.json' ||
    name.endsWith('.vault.enc') ||
    name.endsWith('.key')
  )
}

/** Whether a built-in name is a file's wherever it stands alone; `process.env` and `user.key` may be anything. */
function isUnmistakable(name: string): boolean {
  return (
    isBuiltIn(name) && !name.endsWith('.key') && (name.startsWith('.env') || !name.endsWith('.env'))
  )
}

// Where a name ends for some reader: parameters, streams, queries, fragments, NUL, and escapes and bytes that are broken.
const TAIL = /[;:?#%\0\ufffd]/

/** Every built-in name contains one of these once it is decoded and folded. */
const NAMED = /\.env|\.key|\.vault\.enc|openclaw\.json/

/** A target without these and without escapes, as it came, needs no second look. */
const SUSPECT = /%|\\[ux]|\.env|\.key|\.vault\.enc|openclaw\.json/i

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
 * Whether a target names a sensitive file: as any segment of its path, or in its query where that can be a file name. Looks
 * at every form the text takes while it is decoded, three times at most.
 */
export function namesSensitiveFile(
  { path, query }: Target,
  added: readonly FilePattern[],
): boolean {
  if (added.length === 0 && !SUSPECT.test(path) && !SUSPECT.test(query)) return false
  const names = new Names(added)
  return names.inPath(path) || names.inQuery(query)
}

/** The names that are looked for, and where. */
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
    // Pair by pair from here on: a `&` that comes out of an escape is part of a value.
    return text
      .split('&')
      .some(
        (pair) =>
          this.#isSuspect(pair) &&
          formsOf(pair).some((form) => this.#mayName(form) && this.#inPair(form)),
      )
  }

  /** Whether a pair of the query, decoded and folded, names a file. */
  #inPair(pair: string): boolean {
    const equals = pair.indexOf('=')
    const name = equals < 0 ? pair : pair.slice(0, equals)
    const value = equals < 0 ? '' : pair.slice(equals + 1)
    // `?sort.key=1` names a property, `?/data/server.key=1`, `?.env=1` and `?server.key` a file.
    const isNameless = /^=*$/.test(value)
    if (isNameless || /^\.|[/\\]/.test(name)) {
      if (this.#inValue(name, !isProse(name))) return true
    }
    return !isNameless && this.#inValue(value, namesFile(name))
  }

  /**
   * Whether a value names a file. One with a slash can be a path, alone or within JSON, a list or a command, and each part of
   * it is looked at. Without one, only what stands for a file is: the value of such a parameter or member, or a name that can
   * be nothing else. Prose may mention all of them.
   * @param isFile whether the value is a file by the name of its parameter
   */
  #inValue(value: string, isFile: boolean): boolean {
    if (isFile || /[/\\\0]/.test(value))
      return this.#endsInFile(value) || this.#partEndsInFile(value)
    if (isProse(value)) return this.#standsForFile(value)
    let member = ''
    let memberName = ''
    let isMember: boolean | undefined = false // undefined: nobody has asked about this name
    return partsOf(value).some(({ text, isName, isIndex, isWhole }) => {
      if (this.#isFile(text)) {
        isMember ??= namesFile(memberName)
        if (isMember || (isWhole && this.#standsForFile(text))) return true
      }
      member = isIndex ? `${member} ${text}` : text // `path[0]` is one name
      if (isName) {
        memberName = member
        isMember = undefined
      }
      return false
    })
  }

  /** Whether a path ends in a sensitive file: in its last segment, or before a `..` (`.env/x/..`). */
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

  /** Whether a file system could take a folded segment for a sensitive name: with or without a tail, nothing around it. */
  #isFile(segment: string): boolean {
    if (!this.#mayName(segment)) return false
    const head = headOf(segment)
    if (this.#isName(trimName(head))) return true
    return head !== segment && this.#isName(trimName(segment))
  }

  #isName(name: string): boolean {
    return isBuiltIn(name) || this.#added.some(({ matches }) => matches(name))
  }

  /** Whether text is a name that is a file's wherever it stands alone. A tail has no blanks: `.env: what is it?` is prose. */
  #standsForFile(text: string): boolean {
    const head = headOf(text)
    if (/\s/.test(text.slice(head.length).trim())) return false
    const name = trimName(head)
    if (isUnmistakable(name) && !/\s/.test(name)) return true
    return this.#added.some(({ literal }) => literal === name)
  }

  /** Whether text as it came may name a file once it is decoded. */
  #isSuspect(text: string): boolean {
    return SUSPECT.test(text) || (this.#added.length > 0 && this.#mayName(fold(text)))
  }

  /** Whether text that is decoded and folded may name a file. */
  #mayName(text: string): boolean {
    return NAMED.test(text) || this.#added.some(({ part }) => text.includes(part))
  }
}

/** A part of a value: what stands between separators. */
interface ValuePart {
  readonly text: string
  /** Whether it names what comes next: a member of JSON, a parameter. */
  readonly isName: boolean
  /** Whether it stands in brackets behind its neighbour (`path[0]`). */
  readonly isIndex: boolean
  /** Whether something other than blanks separates it from its neighbours: it is no word of a sentence. */
  readonly isWhole: boolean
}

// Characters of file names and paths; all other ASCII, white space of any alphabet and broken bytes separate.
const PART = /[^\0-,:-@[\]^`{-\xa0\s\ufffd]+/g

/** The parts of a value that file names can be: JSON, quotes, brackets, lists, pairs and command lines are all taken apart. */
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

/** Whether a value is a sentence: several words, and not within quotes or brackets. */
function isProse(value: string): boolean {
  const text = value.trim()
  return /\s/.test(text) && !(/^["'`[{(]/.test(text) && /["'`\]})]$/.test(text))
}

/** The segments of a path that are not empty. */
function segmentsOf(path: string): string[] {
  return path.match(/[^/\\]+/g) ?? []
}

/** What text becomes while it is decoded, folded each time. */
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

/** Decodes every escape that can be decoded: `.env%ff` must not hide behind its own garbage. */
function decodeLoosely(text: string): string {
  if (!text.includes('%')) return text
  return text.replace(/(?:%[0-9A-Fa-f]{2})+/g, (run) =>
    Buffer.from(run.replaceAll('%', ''), 'hex').toString(),
  )
}

/** Decodes the escapes of JSON and its kin that spell a character: `\u002e`, `\u{2e}`, `\x2e`. */
function unescape(text: string): string {
  if (!text.includes('\\')) return text
  return text.replace(
    /\\(?:u([0-9a-f]{4})|u\{([0-9a-f]{1,4})\}|x([0-9a-f]{2}))/gi,
    (_, four?: string, braced?: string, two?: string) =>
      String.fromCharCode(Number.parseInt(four ?? braced ?? two ?? '', 16)),
  )
}

/**
 * Thirty combining marks in a row. Normalization sorts a run of marks in quadratic time; a joiner behind each thirty, as in
 * the stream-safe format of Unicode (UAX #15 section 13), bounds the run and is taken out again as an invisible character.
 */
const MARKS = /[\p{M}\uff9e\uff9f]{30}/gu

/** Folds away what a file system may not tell apart: compatibility forms of letters, invisible characters, case. */
function fold(text: string): string {
  if (/^[\0-\x7f]*$/.test(text)) return text.toLowerCase()
  return text
    .replace(MARKS, '$&\u034f')
    .normalize('NFKC')
    .replace(/\p{Default_Ignorable_Code_Point}/gu, '')
    .toLowerCase()
}

/** Text without its tail. */
function headOf(text: string): string {
  const tail = text.search(TAIL)
  return tail < 0 ? text : text.slice(0, tail)
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
  if (char <= ' ' || marks.includes(char)) return true
  return char >= '\x7f' && (char <= '\xa0' || char.trim() === '')
}
