/** What tests of `npm start` and of other npm scripts share: the PATH to run npm with, and when the workspace is up. */
import { delimiter } from 'node:path'
import type { Program } from './process.ts'
import { eventually } from './waiting.ts'

/** How long a start may take on a busy machine, in milliseconds. */
export const START_MS = 60_000

/** The PATH of somebody who has not run npm: their own Node starts npm, and npm finds the Node of devDependencies. */
export const PATH_WITHOUT_NPM = (process.env['PATH'] ?? '')
  .split(delimiter)
  .filter((folder) => !folder.includes('node_modules'))
  .join(delimiter)

/** Waits until `npm start` has printed its whole welcome text. @throws what it wrote, when it ended instead */
export async function workspaceIsUp({ stdout, stderr, exited }: Program): Promise<void> {
  const isUp = eventually(() => stdout().includes('Ctrl+C stops it.'), 'the workspace', START_MS)
  const end = exited.then((code) => `ended with ${code}: ${stderr()}`)
  const problem = await Promise.race([isUp, end])
  if (problem !== undefined) throw new Error(problem)
}
