/** How does wrk send different requests? It cycles through a file that is written here (requests.lua reads it). */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'

/** One request. */
export interface ListedRequest {
  readonly path: string
  readonly token?: string | undefined
  /** The client address that the front proxy reports. */
  readonly address: string
}

/** Returns the n-th of 16 million addresses. */
export function address(n: number): string {
  return `10.${(n >> 16) & 255}.${(n >> 8) & 255}.${n & 255}`
}

/** Writes the file. @returns its path */
export function writeRequests(
  folder: string,
  name: string,
  requests: readonly ListedRequest[],
): string {
  const file = join(folder, `${name}.requests`)
  const lines = requests.map(
    ({ path, token = '-', address: client }) => `${path}\t${token}\t${client}\n`,
  )
  writeFileSync(file, lines.join(''))
  return file
}
