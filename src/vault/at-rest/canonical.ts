/**
 * Which bytes stand for a value where it is hashed, authenticated or stored? JSON with the keys of each object sorted and without
 * spaces, so that one value has exactly one text.
 */

/** What can be written. A property that is undefined is left out. */
export type Json =
  | string
  | number
  | boolean
  | null
  | readonly Json[]
  | { readonly [key: string]: Json | undefined }

/** Returns the one text of a value. */
export function canonical(value: Json): string {
  return JSON.stringify(sorted(value))
}

/** The same for a person: one line for each property. */
export function canonicalLines(value: Json): string {
  return `${JSON.stringify(sorted(value), null, 2)}\n`
}

function sorted(value: Json): Json {
  if (typeof value !== 'object' || value === null) return value
  if (isList(value)) return value.map(sorted)
  const pairs = Object.keys(value)
    .toSorted()
    .map((key) => [key, propertyOf(value, key)])
  return Object.fromEntries(pairs) as Json
}

function propertyOf(value: { readonly [key: string]: Json | undefined }, key: string) {
  const property = value[key]
  return property === undefined ? undefined : sorted(property)
}

/** `Array.isArray` does not narrow a read-only array. */
function isList(value: object): value is readonly Json[] {
  return Array.isArray(value)
}
