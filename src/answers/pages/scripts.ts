/** Which scripts do the pages load, and from where? Each is one function of src/answers/scripts, sent as text. */
import { createHash } from 'node:crypto'
import { comfort } from '../scripts/comfort.ts'
import { countdown } from '../scripts/countdown.ts'
import { passkey } from '../scripts/passkey.ts'
import { waking } from '../scripts/waking.ts'

/** The path below which the scripts are served. */
export const ASSETS = '/_gateway/assets'

/** The text of each script. Node and esbuild remove the types, and the rest is what browsers run. */
const SCRIPTS = {
  comfort: textOf(comfort),
  countdown: textOf(countdown),
  passkey: textOf(passkey),
  waking: textOf(waking),
} as const

/** A script by name. */
export type ScriptName = keyof typeof SCRIPTS

/** The file name of each script. It changes with its text, so that browsers may keep it for ever. */
export const SCRIPT_FILES: ReadonlyMap<string, string> = new Map(
  Object.entries(SCRIPTS).map(([name, text]) => [fileOf(name, text), text]),
)

/** The path of a script. */
export function scriptPath(name: ScriptName): string {
  return `${ASSETS}/${fileOf(name, SCRIPTS[name])}`
}

function fileOf(name: string, text: string): string {
  return `${name}-${createHash('sha256').update(text).digest('base64url').slice(0, 12)}.js`
}

function textOf(script: () => void): string {
  return `(${script.toString()})()\n`
}
