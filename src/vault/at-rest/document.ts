/**
 * What stands in the sealed file? A JSON document: the policies of the entries in clear text, their credentials sealed, and a MAC
 * over all of it. The parser accepts only the one text that the vault itself writes for a document.
 */
import { KINDS, MAX_VALUE_BYTES, MIN_VALUE_BYTES, type Policy, type Slot } from '../policy.ts'
import { canonicalLines, type Json } from './canonical.ts'
import { FORMAT, KEY_BYTES, SALT_BYTES } from './key-tree.ts'
import { SEAL_BYTES } from './sealed-value.ts'
import {
  ascending,
  bytes,
  flag,
  list,
  matching,
  orNull,
  shape,
  ShapeError,
  shortText,
  text,
  whole,
  word,
  type Check,
} from './shapes.ts'

/** A version of a credential in the file. */
export interface VersionDocument {
  readonly version: number
  readonly createdAt: number
  readonly keptUntil: number | null
  /** Nonce, ciphertext and tag in base64url. */
  readonly sealed: string
}

/** An entry in the file. */
export interface EntryDocument {
  readonly id: string
  readonly policy: Policy
  readonly versions: readonly VersionDocument[]
}

/** The file. */
export interface VaultDocument {
  readonly format: string
  readonly vaultId: string
  /** Grows with each change, so that an older file is recognised. */
  readonly sequence: number
  readonly salt: string
  /** The wrapped data key. */
  readonly dataKey: string
  /** Sorted by service. */
  readonly entries: readonly EntryDocument[]
  readonly mac: string
}

/** The most entries that the file may have. */
export const MAX_ENTRIES = 1000

/** The most bytes that the file may have. */
export const MAX_FILE_BYTES = 16 * 1024 * 1024

const MAC_BYTES = 32

/** What the id of a vault is. */
export const VAULT_ID = /^[\w.-]{1,64}$/

/** The same in words. */
export const VAULT_ID_FORM = '1 to 64 letters, digits, dots, underscores and hyphens'

/** RFC 9110, section 5.6.2, in lower case. */
const FIELD_NAME = /^[a-z0-9!#$%&'*+.^_`|~-]{1,100}$/

const itself = (value: string) => value

const words = (item: Check<string>, min: number, max: number) =>
  ascending(item, { min, max }, itself)

const isOrigin = (value: string): boolean =>
  value.length <= 300 && /^https?:/.test(value) && URL.parse(value)?.origin === value

const hasOneHole = (value: string): boolean =>
  value.length <= 1000 && !/\p{Cc}/u.test(value) && value.split('{}').length === 2

const checkService = matching('1 to 40 lower-case letters, digits and hyphens', /^[a-z0-9-]{1,40}$/)

/** The check of each property of a policy. The compiler demands one for each, so none is left out of the seal. */
const checkPolicy = shape<Policy>(
  {
    service: checkService,
    kind: word(KINDS),
    origin: text('an origin with http or https, such as https://api.example.com', isOrigin),
    slot: shape<Slot>({
      header: matching('the name of a header in lower case', FIELD_NAME),
      template: text('a text with exactly one hole {}', hasOneHole),
    }),
    methods: words(matching('a method in upper case', /^[A-Z-]{1,30}$/), 1, 50),
    paths: words(matching('a path that begins with /', /^\/[\x21-\x7e]{0,999}$/), 1, 500),
    headers: words(matching('the name of a header in lower case', FIELD_NAME), 0, 100),
    grants: words(matching('the name of an agent', /^[\x21-\x7e]{1,200}$/), 0, 1000),
    allowPrivate: flag,
    upgrade: flag,
    decode: flag,
    suspended: flag,
    note: shortText(4000),
    remote: checkService,
  },
  ['remote'],
)

const checkVersion = shape<VersionDocument>({
  version: whole(1),
  createdAt: whole(0),
  keptUntil: orNull(whole(0)),
  sealed: bytes(SEAL_BYTES + MIN_VALUE_BYTES, SEAL_BYTES + MAX_VALUE_BYTES),
})

const checkShapeOfEntry = shape<EntryDocument>({
  id: matching('1 to 64 letters, digits, hyphens and underscores', /^[\w-]{1,64}$/),
  policy: checkPolicy,
  versions: ascending(checkVersion, { min: 1, max: 100 }, ({ version }) => version),
})

/** Checks an entry: its shape, and that the newest version, and only that, is kept for ever. */
export function checkEntry(value: unknown, where: string): EntryDocument {
  const entry = checkShapeOfEntry(value, where)
  for (const [index, { keptUntil }] of entry.versions.entries()) {
    const isNewest = index === entry.versions.length - 1
    if ((keptUntil === null) !== isNewest)
      throw new ShapeError(
        `${where === '' ? '' : `${where}.`}versions[${index}].keptUntil`,
        isNewest ? 'must be null for the newest version' : 'must be a time for an older version',
      )
  }
  return entry
}

/** The document with entries that are not checked yet. */
interface Outline extends Omit<VaultDocument, 'entries'> {
  readonly entries: readonly unknown[]
}

const checkOutline = shape<Outline>({
  format: word([FORMAT]),
  vaultId: matching(`a name of ${VAULT_ID_FORM}`, VAULT_ID),
  sequence: whole(1),
  salt: bytes(SALT_BYTES, SALT_BYTES),
  dataKey: bytes(SEAL_BYTES + KEY_BYTES, SEAL_BYTES + KEY_BYTES),
  entries: list((value: unknown) => value, { min: 0, max: MAX_ENTRIES }),
  mac: bytes(MAC_BYTES, MAC_BYTES),
})

/** Something that is wrong with the file. */
export interface FileProblem {
  /** The service of the entry, where the problem is in one; its number in the file if the service cannot be read. */
  readonly entry?: string | undefined
  /** A sentence without its full stop. */
  readonly what: string
}

/** The result of parsing: the document, or everything that is wrong with it. */
export type Parsed =
  | { readonly document: VaultDocument }
  | { readonly problems: readonly [FileProblem, ...FileProblem[]] }

/** Parses the bytes of a file. The work is linear in their number. */
export function parseDocument(content: Buffer): Parsed {
  if (content.length === 0) return { problems: [{ what: 'the file is empty' }] }
  if (content.length > MAX_FILE_BYTES)
    return { problems: [{ what: `the file is longer than ${MAX_FILE_BYTES} bytes` }] }
  const decoded = decode(content)
  if (decoded === undefined) return { problems: [{ what: 'the file is no UTF-8 text' }] }
  const json = parseJson(decoded)
  if (json === undefined)
    return {
      problems: [{ what: 'the file is no JSON document: it is not complete, or was edited' }],
    }
  return parseOutline(json, decoded)
}

function parseOutline(json: unknown, decoded: string): Parsed {
  const outline = checked(() => checkOutline(json, ''))
  if ('what' in outline) return { problems: [outline] }
  const problems: FileProblem[] = []
  const entries: EntryDocument[] = []
  for (const [index, value] of outline.entries.entries()) {
    const entry = checked(() => checkEntry(value, ''))
    if ('what' in entry) problems.push({ entry: nameOf(value, index), what: entry.what })
    else entries.push(entry)
  }
  problems.push(...misplaced(entries))
  const document = { ...outline, entries }
  if (problems.length === 0) problems.push(...otherText(document, decoded))
  const [first, ...rest] = problems
  return first === undefined ? { document } : { problems: [first, ...rest] }
}

/** Returns the text of a document: the only one that {@link parseDocument} accepts for it. */
export function textOf(document: VaultDocument): string {
  return canonicalLines(document as unknown as Json)
}

/** Finds entries out of order, and two entries with one service or one id. */
function misplaced(entries: readonly EntryDocument[]): FileProblem[] {
  const problems: FileProblem[] = []
  const ids = new Set<string>()
  for (const [index, { id, policy }] of entries.entries()) {
    const before = entries[index - 1]
    if (before !== undefined && before.policy.service >= policy.service)
      problems.push({ entry: policy.service, what: 'it is there twice, or out of order' })
    if (ids.has(id)) problems.push({ entry: policy.service, what: 'another entry has the same id' })
    ids.add(id)
  }
  return problems
}

/** Finds what JSON.parse overlooks: a name that is there twice, other spaces, other escapes. */
function otherText(document: VaultDocument, decoded: string): FileProblem[] {
  const expected = textOf(document)
  if (decoded === expected) return []
  let index = 0
  while (index < decoded.length && decoded[index] === expected[index]) index++
  const line = decoded.slice(0, index).split('\n').length
  return [{ what: `line ${line} is not written as the vault writes it, so the file was edited` }]
}

function nameOf(value: unknown, index: number): string {
  const { policy } = (value ?? {}) as { policy?: unknown }
  const { service } = (policy ?? {}) as { service?: unknown }
  return typeof service === 'string' && /^[\w-]{1,40}$/.test(service)
    ? service
    : `number ${index + 1}`
}

function checked<T extends object>(check: () => T): T | { what: string } {
  try {
    return check()
  } catch (error) {
    if (error instanceof ShapeError) return { what: error.message }
    throw error
  }
}

function decode(content: Buffer): string | undefined {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(content)
  } catch {
    return undefined
  }
}

function parseJson(decoded: string): unknown {
  try {
    return JSON.parse(decoded)
  } catch {
    return undefined
  }
}
