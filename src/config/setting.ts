/** What is a setting? A declaration of the type here. This file also has the parsers that several settings share. */

/** The declaration of a setting. Its type, its validation, `--help` and docs/configuration.md are all derived from it. */
export interface Setting<T> {
  /** The name of the environment variable. */
  readonly env: string
  /** One or more sentences. The first one must be understandable alone. */
  readonly description: string
  /** The accepted values, as a phrase for error messages. */
  readonly accepts: string
  /** The default, as it would be written in the environment; undefined when there is none. */
  readonly default: string | undefined
  readonly required: boolean
  /** Whether the value is a secret. A secret is never printed, can also be read from `<env>_FILE`, and leaves the environment. */
  readonly secret: boolean
  /** Parses the text of the variable. @throws {Error} with the problem as text; for a secret, without its value */
  readonly parse: (text: string) => T
}

interface Declaration<T> {
  env: string
  description: string
  accepts: string
  parse: (text: string) => T
  secret?: boolean
}

/** Declares a setting that must be set. */
export function required<T>(declaration: Declaration<T>): Setting<T> {
  return { secret: false, ...declaration, default: undefined, required: true }
}

/** Declares a setting with a default, which is written as in the environment. */
export function withDefault<T>(defaultText: string, declaration: Declaration<T>): Setting<T> {
  return { secret: false, ...declaration, default: defaultText, required: false }
}

/** Declares a setting that may be absent. */
export function optional<T>(declaration: Declaration<T>): Setting<T | undefined> {
  return { secret: false, ...declaration, default: undefined, required: false }
}

/** Parses a whole number within two bounds, both included. */
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

/** Parses one of a few words. */
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

/** Parses exactly `true` or `false`. */
export const trueOrFalse: { accepts: string; parse: (text: string) => boolean } = {
  accepts: 'true or false',
  parse: (text) => oneOf('true', 'false').parse(text) === 'true',
}

/** Parses a comma-separated list element by element. An empty element is an error. */
export function listOf<T>(parseElement: (element: string) => T): (text: string) => readonly T[] {
  return (text) =>
    text.split(',').map((element) => {
      const trimmed = element.trim()
      if (trimmed === '') throw new Error('has an empty element')
      return parseElement(trimmed)
    })
}
