/** How do tests run the SDKs of model services? npm installs them in a folder of their own, and scripts run there with Node. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { runNpm } from './npm.ts'

/** The SDKs, in the versions that the tests were written with. */
const SDKS = { '@anthropic-ai/sdk': '1.14.0', openai: '7.59.0' } as const

/** The folder in which a script finds the SDKs. */
export const sdksIn = (folder: string) => join(folder, 'sdks')

/** Installs the SDKs, unless they are there. @returns their versions */
export async function install(folder: string): Promise<string> {
  const place = sdksIn(folder)
  if (!Object.entries(SDKS).every(([name, version]) => versionOf(place, name) === version)) {
    mkdirSync(place, { recursive: true })
    writeFileSync(
      join(place, 'package.json'),
      JSON.stringify({ private: true, dependencies: SDKS }),
    )
    await runNpm(place, ['install', '--ignore-scripts', '--no-audit', '--no-fund'])
  }
  return Object.keys(SDKS)
    .map((name) => `${name} ${versionOf(place, name)}`)
    .join(', ')
}

function versionOf(place: string, name: string): string | undefined {
  try {
    const text = readFileSync(join(place, 'node_modules', name, 'package.json'), 'utf8')
    return (JSON.parse(text) as { version: string }).version
  } catch {
    return undefined
  }
}
