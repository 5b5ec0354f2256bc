/** How is an unknown JSON value checked? By functions that return it with its type, or refuse it and say where it is wrong. */

/** A value that is not what the format demands. `what` is a predicate: `must be a whole number`. */
export class ShapeError extends Error {
  override readonly name = 'ShapeError'
  /** The place in the document: `policy.slot.header`. */
  readonly where: string
  readonly what: string

  constructor(where: string, what: string) {
    super(`${where} ${what}`)
    this.where = where
    this.what = what
  }
}

/** Checks a value. @throws {ShapeError} */
export type Check<T> = (value: unknown, where: string) => T

/** A text that a test accepts. @param what what it must be, for the message */
export function text(what: string, accepts: (value: string) => boolean): Check<string> {
  return (value, where) => {
    if (typeof value !== 'string' || !accepts(value)) throw new ShapeError(where, `must be ${what}`)
    return value
  }
}

/** A text of a pattern. */
export function matching(what: string, pattern: RegExp): Check<string> {
  return text(what, (value) => pattern.test(value))
}

/** Lines with at most so many UTF-16 code units and no control characters but line breaks and tabs. */
export function shortText(max: number): Check<string> {
  return text(
    `a text of at most ${max} characters without control characters`,
    (value) => value.length <= max && value.isWellFormed() && !/[^\P{Cc}\t\n]/u.test(value),
  )
}

/** One of some words. */
export function word<Word extends string>(words: readonly Word[]): Check<Word> {
  return (value, where) => {
    const found = words.find((one) => one === value)
    if (found === undefined) throw new ShapeError(where, `must be one of ${words.join(', ')}`)
    return found
  }
}

export const flag: Check<boolean> = (value, where) => {
  if (typeof value !== 'boolean') throw new ShapeError(where, 'must be true or false')
  return value
}

/** A whole number from `min` to 2^53 - 1. */
export function whole(min: number): Check<number> {
  return (value, where) => {
    if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < min)
      throw new ShapeError(where, `must be a whole number from ${min} on`)
    return value
  }
}

/** What another check accepts, or null. */
export function orNull<T>(check: Check<T>): Check<T | null> {
  return (value, where) => (value === null ? null : check(value, where))
}

/** Bytes as base64url without padding, in the one way that they are written. */
export function bytes(min: number, max: number): Check<string> {
  const what = min === max ? `${min} bytes` : `${min} to ${max} bytes`
  const maxCharacters = Math.ceil((max * 4) / 3)
  return text(`${what} in base64url`, (value) => {
    if (value.length > maxCharacters) return false
    const decoded = Buffer.from(value, 'base64url')
    return decoded.length >= min && decoded.toString('base64url') === value
  })
}

/** A list. Its length is checked before its items. */
export function list<T>(
  item: Check<T>,
  { min, max }: { min: number; max: number },
): Check<readonly T[]> {
  return (value, where) => {
    if (!Array.isArray(value) || value.length < min || value.length > max)
      throw new ShapeError(where, `must be a list of ${min} to ${max} items`)
    return value.map((one, index) => item(one, `${where}[${index}]`))
  }
}

/** A list in ascending order, without the same item twice. */
export function ascending<T>(
  item: Check<T>,
  bounds: { min: number; max: number },
  keyOf: (item: T) => string | number,
): Check<readonly T[]> {
  const check = list(item, bounds)
  return (value, where) => {
    const items = check(value, where)
    for (const [index, one] of items.entries()) {
      const before = items[index - 1]
      if (before !== undefined && keyOf(before) >= keyOf(one))
        throw new ShapeError(`${where}[${index}]`, 'must come after the one before it in the order')
    }
    return items
  }
}

/** An object with exactly these properties. @param optional those that may be absent */
export function shape<T extends object>(
  checks: { readonly [Key in keyof T]-?: Check<NonNullable<T[Key]>> | Check<T[Key]> },
  optional: ReadonlyArray<keyof T> = [],
): Check<T> {
  const keys = Object.keys(checks) as Array<keyof T & string>
  return (value, where) => {
    if (typeof value !== 'object' || value === null || Array.isArray(value))
      throw new ShapeError(where, 'must be an object')
    const inside = (key: string) => (where === '' ? key : `${where}.${key}`)
    const unknown = Object.keys(value).find((key) => !Object.hasOwn(checks, key))
    if (unknown !== undefined)
      throw new ShapeError(inside(printable(unknown)), 'is no property of the format')
    const given = value as Partial<Record<keyof T, unknown>>
    const present = keys.filter((key) => Object.hasOwn(given, key) || !optional.includes(key))
    const pairs = present.map((key) => {
      if (!Object.hasOwn(given, key)) throw new ShapeError(inside(key), 'is missing')
      return [key, checks[key](given[key], inside(key))]
    })
    return Object.fromEntries(pairs) as T
  }
}

/** The name of an unknown property, for a message. It is somebody else's text, and a terminal would obey its control characters. */
function printable(name: string): string {
  return name.slice(0, 40).replaceAll(/[^\x21-\x7e]/g, '?')
}
