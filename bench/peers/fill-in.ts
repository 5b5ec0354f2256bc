/** A peer's configuration file, with what differs from run to run filled in. */
import { readFileSync } from 'node:fs'

/** The file with each `@NAME@` replaced. @throws {Error} when it has a name without a value */
export function fillIn(file: string, values: Readonly<Record<string, string | number>>): string {
  const template = readFileSync(new URL(file, import.meta.url), 'utf8')
  return template.replace(/@([A-Z]+)@/g, (_match, name: string) => {
    const value = values[name]
    if (value === undefined) throw new Error(`${file} wants ${name}`)
    return String(value)
  })
}
