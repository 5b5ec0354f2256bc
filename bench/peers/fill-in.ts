/** How does a peer get its configuration file? From a template in which the values of this run are filled in. */
import { readFileSync } from 'node:fs'

/** Returns the template with each `@NAME@` replaced. @throws {Error} for a name without a value */
export function fillIn(file: string, values: Readonly<Record<string, string | number>>): string {
  const template = readFileSync(new URL(file, import.meta.url), 'utf8')
  return template.replace(/@([A-Z]+)@/g, (_match, name: string) => {
    const value = values[name]
    if (value === undefined) throw new Error(`${file} wants ${name}`)
    return String(value)
  })
}
