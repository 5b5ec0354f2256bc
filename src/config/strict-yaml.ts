/**
 * How is a YAML file of settings read strictly? As plain YAML 1.2 without anything that makes a text mean more than it shows. Whoever
 * reads a file with this says which keys it knows, and refuses all others, because a misspelt key would else leave its default in force.
 */
import {
  Composer,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  Parser,
  type CST,
  type ParsedNode,
} from 'yaml'
import { printable } from '../answers/printable.ts'
import { ConfigError } from './load.ts'
import { nearestName } from './nearest.ts'

/** The largest file, in bytes. */
export const MAX_BYTES = 64 * 1024

/** How many mappings and lists may stand inside each other. The keys that are known need five. */
const MAX_DEPTH = 16

/** How many problems are told. */
const MAX_PROBLEMS = 20

/** The longest text of a file, and the longest message of the parser, that a problem repeats, in characters. */
const MAX_QUOTED = 64
const MAX_MESSAGE = 200

/**
 * Characters that YAML does not take, or that an editor shows in another place or on another line than the parser reads them: controls,
 * carriage returns alone, line separators, byte order marks inside the text, and those that turn the direction round.
 */
const REFUSED =
  /\r(?!\n)|(?![\t\n\r])\p{Cc}|[\p{Zl}\p{Zp}\u202a-\u202e\u2066-\u2069\ufeff\ufffe\uffff]/u

/** Tokens that make a text mean more than it shows, and what is said of them. */
const REFUSED_TOKENS: Partial<Record<CST.Token['type'], string>> = {
  alias: 'an alias (*name) is not taken: write the value itself',
  anchor: 'an anchor (&name) is not taken, because no alias is',
  tag: 'a tag (!name) is not taken: what a value is shows in the value',
  directive: 'a directive (%name) is not taken: the file is YAML 1.2 without one',
}

/** The problem of a key that is a list or a mapping. The parser's own message speaks of its options. */
const ODD_KEY = 'only a text is taken as a key'

/** A file that was read, as far as it is YAML. */
export interface StrictYaml {
  /** What its one document has; undefined when it is empty. */
  readonly root: ParsedNode | undefined
  /** Its problems so far. */
  readonly report: Report
}

/**
 * Reads a file.
 * @param bytes the whole file, in UTF-8
 * @param name what the problems call the file
 * @throws {ConfigError} with every problem, when the file is no YAML of this kind
 */
export function readStrictYaml(bytes: Uint8Array, name: string): StrictYaml {
  const report = new Report(name)
  const text = textOf(bytes, report)
  return { root: rootOf(tokensOf(text, report), text.length, report), report }
}

/** The problems of a file. */
export class Report {
  readonly #name: string
  readonly #lines = new LineCounter()
  readonly #problems: Array<{ readonly offset: number; readonly text: string }> = []

  constructor(name: string) {
    this.#name = name
  }

  /** Finds the lines of the file's text. */
  countLines(text: string): void {
    this.#lines.addNewLine(0)
    for (let at = text.indexOf('\n'); at >= 0; at = text.indexOf('\n', at + 1))
      this.#lines.addNewLine(at + 1)
  }

  /** @param offset where it is, in characters from the beginning; undefined for a problem without a place */
  add(offset: number | undefined, text: string): void {
    this.#problems.push({ offset: offset ?? Infinity, text })
  }

  lineOf(offset: number): number {
    return this.#lines.linePos(offset).line
  }

  /** @throws {ConfigError} when there are problems */
  end(): void {
    if (this.#problems.length === 0) return
    const told = this.#problems
      .toSorted((a, b) => (a.offset === b.offset ? 0 : a.offset - b.offset))
      .slice(0, MAX_PROBLEMS)
      .map(({ offset, text }) =>
        offset === Infinity
          ? `${this.#name}: ${text}`
          : `${this.#name} line ${this.lineOf(offset)}: ${text}`,
      )
    const more = this.#problems.length - told.length
    throw new ConfigError(more === 0 ? told : [...told, `${this.#name}: and ${more} more problems`])
  }
}

/** The text of the file. @throws {ConfigError} when it is too long, is not UTF-8, or has a character that is refused */
function textOf(bytes: Uint8Array, report: Report): string {
  if (bytes.length > MAX_BYTES)
    report.add(undefined, `the file has ${bytes.length} bytes, and ${MAX_BYTES} are the most`)
  report.end()
  let text = ''
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes) // without a byte order mark at its beginning
  } catch {
    report.add(undefined, 'the file is not UTF-8: save it as UTF-8')
  }
  report.countLines(text)
  const found = REFUSED.exec(text)
  if (found !== null) {
    const code = (found[0].codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0')
    report.add(found.index, `the character U+${code} is not taken`)
  }
  report.end()
  return text
}

/**
 * The tokens of the file. They are looked through before anything is made of them: without a recursion, so that no nesting is too deep
 * for it.
 * @throws {ConfigError} when they are nested too deep
 */
function tokensOf(text: string, report: Report): readonly CST.Token[] {
  const tokens = [...new Parser().parse(text)]
  const waiting = tokens.map((token): readonly [CST.Token, number] => [token, 0])
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    const [token, above] = next
    const depth = above + ('items' in token ? 1 : 0)
    if (depth > MAX_DEPTH) {
      report.add(token.offset, `more than ${MAX_DEPTH} mappings and lists stand inside each other`)
      report.end()
    }
    const refusal = REFUSED_TOKENS[token.type]
    if (refusal !== undefined) report.add(token.offset, refusal)
    for (const part of partsOf(token)) waiting.push([part, depth])
  }
  return tokens
}

/** The tokens inside a token. */
function partsOf(token: CST.Token): CST.Token[] {
  if ('items' in token)
    return token.items.flatMap(({ start, key, sep = [], value }) =>
      [...start, key, ...sep, value].filter((part) => part !== null && part !== undefined),
    )
  if ('props' in token) return token.props
  if (token.type !== 'document') return []
  return token.value === undefined ? token.start : [...token.start, token.value]
}

/** What the one document of the file has. @throws {ConfigError} when the file is not YAML */
function rootOf(
  tokens: readonly CST.Token[],
  length: number,
  report: Report,
): ParsedNode | undefined {
  const composer = new Composer({
    version: '1.2',
    schema: 'core',
    stringKeys: true,
    uniqueKeys: false, // the parser compares each key with all before it; groupsOf looks them up
  })
  let root: ParsedNode | undefined
  let hasOne = false
  let isYaml = true
  for (const { contents, errors, range } of composer.compose(tokens, true, length)) {
    if (hasOne) {
      report.add(range[0], 'a second document (---) begins here: the file is one document')
      isYaml = false
      break
    }
    hasOne = true
    root = contents ?? undefined
    if (errors.length > 0) isYaml = false
    for (const { code, pos, message } of errors)
      report.add(
        pos[0],
        code === 'NON_STRING_KEY' ? ODD_KEY : `not YAML: ${quoted(message, MAX_MESSAGE)}`,
      )
  }
  if (!isYaml) report.end() // its keys are not known
  return root
}

/** Where a key stands, and its value. */
export interface Place {
  readonly offset: number
  /** Undefined where a key stands alone, as in `{id}`. */
  readonly value: ParsedNode | undefined
}

/**
 * The keys of a mapping, each with all its places. Anything but a mapping is a problem, unless nothing is there.
 * @param path of the mapping; empty for the whole file
 */
export function groupsOf(
  node: ParsedNode | undefined,
  path: string,
  report: Report,
): ReadonlyMap<string, readonly Place[]> {
  const groups = new Map<string, Place[]>()
  if (node === undefined || isEmpty(node)) return groups
  if (!isMap(node)) {
    // A file that is one value is no file of settings. It may be that of a secret, named by mistake, so its text is not repeated.
    report.add(
      node.range[0],
      path === ''
        ? `the file takes names with values, and has ${isScalar(node) ? 'one value alone' : wordsFor(node)}`
        : `${path} takes names with values, and has ${wordsFor(node)}`,
    )
    return groups
  }
  for (const { key, value } of node.items) {
    const name = isScalar(key) ? String(key.value) : ''
    const place: Place = { offset: key.range[0], value: value ?? undefined }
    const places = groups.get(name)
    if (places === undefined) groups.set(name, [place])
    else places.push(place)
  }
  return groups
}

/**
 * The known keys of a mapping, each with its first place. One that is not known, and one that stands twice, is a problem.
 * @param path of the mapping; empty for the whole file
 */
export function membersOf<Name extends string>(
  node: ParsedNode | undefined,
  path: string,
  known: readonly Name[],
  report: Report,
): Partial<Record<Name, Place>> {
  const members: Partial<Record<Name, Place>> = {}
  for (const [name, places] of groupsOf(node, path, report)) {
    const key = known.find((one) => one === name)
    if (key === undefined) {
      refuseUnknown({ name, inside: path, hint: hintAmong(name, known) }, places, report)
      continue
    }
    refuseAgain(path === '' ? key : `${path}.${key}`, places, report)
    const [first] = places
    if (first !== undefined) members[key] = first
  }
  return members
}

/** The items of a list that is not empty. Anything else is a problem. */
export function itemsOf({ offset, value }: Place, path: string, report: Report): ParsedNode[] {
  if (isSeq(value) && value.items.length > 0) return value.items
  if (!isAlias(value))
    report.add(
      value?.range[0] ?? offset,
      `${path} takes a list, and has ${isSeq(value) ? 'an empty one' : wordsFor(value)}`,
    )
  return []
}

/** The whole number of a key, as digits alone: 1e3, 0x10 and "5" are none. Anything else is a problem, and NaN. */
export function wholeNumberIn(
  { offset, value: node }: Place,
  path: string,
  [min, max]: readonly [min: number, max: number],
  report: Report,
): number {
  const { value, source = '' } = isScalar(node) ? node : {}
  const isWhole = typeof value === 'number' && /^(?:0|[1-9][0-9]*)$/.test(source)
  if (isWhole && value >= min && value <= max) return value
  if (!isAlias(node))
    report.add(
      node?.range[0] ?? offset,
      `${path} takes a whole number from ${min} to ${max}, and has ${wordsFor(node)}`,
    )
  return NaN
}

/** Refuses a key that stands more than once. @param why says more, for two places */
export function refuseAgain(
  path: string,
  [first, ...others]: readonly Place[],
  report: Report,
  why: (first: Place, other: Place) => string = () => '',
): void {
  if (first === undefined) return
  const line = report.lineOf(first.offset)
  for (const other of others)
    report.add(
      other.offset,
      `${path} is on line ${line} too${why(first, other)}: delete one of the two`,
    )
}

/** A key that is not known. */
interface UnknownKey {
  readonly name: string
  /** The path of the mapping that it stands in; empty for the whole file. */
  readonly inside: string
  /** What was meant. */
  readonly hint: string
}

/** Refuses a key that is not known, in all its places. */
export function refuseUnknown(
  { name, inside, hint }: UnknownKey,
  places: readonly Place[],
  report: Report,
): void {
  const shown = name === '' ? '""' : quoted(name)
  const path = inside === '' ? shown : `${inside}.${shown}`
  const told = name === '<<' ? 'keys are not merged, so write them themselves' : hint
  for (const { offset } of places) report.add(offset, `${path} is not known; ${told}`)
}

/** Which name was meant, of those that are known in the same mapping. */
export function hintAmong(name: string, siblings: readonly string[]): string {
  const sibling = nearest(name, siblings)
  return sibling === undefined ? `known here: ${siblings.join(', ')}` : `did you mean ${sibling}?`
}

/** A known name with few changes: in a short one, fewer. */
export function nearest(name: string, names: readonly string[]): string | undefined {
  return nearestName(name, names, Math.min(3, Math.floor(name.length / 2)))
}

function isEmpty(node: ParsedNode): boolean {
  return isAlias(node) || (isScalar(node) && node.value === null)
}

/** What a value is, as the object of a sentence. */
export function wordsFor(node: ParsedNode | undefined): string {
  if (node === undefined) return 'no value'
  if (isMap(node)) return 'names with values'
  if (!isScalar(node)) return 'a list'
  const { value, source } = node
  if (value === null) return 'no value'
  if (typeof value === 'string') return `the text "${quoted(value)}"`
  return `the ${typeof value} ${quoted(source)}`
}

/** A text of the file, short and without what controls a terminal. */
function quoted(text: string, length = MAX_QUOTED): string {
  const shown = printable(text.slice(0, length))
  return text.length > length ? `${shown}…` : shown
}
