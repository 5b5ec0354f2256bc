/** What is a setting? The form of a declaration and the parsers that several settings share. */

/** One setting: everything that types, validation, `--help` and docs/configuration.md say about it. */
export interface Setting<T> {
  /** The environment variable. */
  readonly env: string
  /** One or more sentences; the first one stands alone. */
  readonly description: string
  /** What is accepted, as it is said in an error. */
  readonly accepts: string
  /** What it is when not set, in the form it would be written; undefined when there is none. */
  readonly default: string | undefined
  readonly required: boolean
  /** Whether the value is a secret: never printed, also read from `<env>_FILE`, removed from the environment. */
  readonly secret: boolean
  /** @throws {Error} saying what is wrong; for a secret without its value */
  readonly parse: (text: string) => T
}

interface Declaration<T> {
  env: string
  description: string
  accepts: string
  parse: (text: string) => T
  secret?: boolean
}

/** A setting without which the gateway does not start. */
export function required<T>(declaration: Declaration<T>): Setting<T> {
  return { secret: false, ...declaration, default: undefined, required: true }
}

/** A setting with a default, written as a person would write it. */
export function withDefault<T>(defaultText: string, declaration: Declaration<T>): Setting<T> {
  return { secret: false, ...declaration, default: defaultText, required: false }
}

/** A setting that may be absent. */
export function optional<T>(declaration: Declaration<T>): Setting<T | undefined> {
  return { secret: false, ...declaration, default: undefined, required: false }
}

/** A whole number between two bounds. */
export function wholeNumber(
  min: number,
  max: number,
): { accepts: string; parse: (text: string) => number } {
  return {
    accepts: `a whole number from ${min} to ${max}`,
    parse(text) {
      if (!/^(?:0|[1-9][0-9]*)$/.test(text)) throw new Error('is not a whole number')
      const value = Number(text)
      if (value < min || value > max) throw new Error('is out of range')
      return value
    },
  }
}

/** One of a few words. */
export function oneOf<const Word extends string>(
  ...words: Word[]
): { accepts: string; parse: (text: string) => Word } {
  return {
    accepts: words.join(' or '),
    parse(text) {
      const word = words.find((candidate) => candidate === text)
      if (word === undefined) throw new Error('is not one of the accepted words')
      return word
    },
  }
}

/** `true` or `false`, spelled so. */
export const trueOrFalse: { accepts: string; parse: (text: string) => boolean } = {
  accepts: 'true or false',
  parse: (text) => oneOf('true', 'false').parse(text) === 'true',
}

/** A comma-separated list; every element is parsed, and an empty one is an error. */
export function listOf<T>(parseElement: (element: string) => T): (text: string) => readonly T[] {
  return (text) =>
    text.split(',').map((element) => {
      const trimmed = element.trim()
      if (trimmed === '') throw new Error('has an empty element')
      return parseElement(trimmed)
    })
}
