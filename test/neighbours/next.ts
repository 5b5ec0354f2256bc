/** How do the tests run real Next.js? They build the app in next-app/ once, and serve it for production or development. */
import { createHash } from 'node:crypto'
import { cpSync, existsSync, globSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { freePort, run, startProgram, until, type Program, type Started } from './neighbour.ts'
import { runNpm } from './npm.ts'

const SOURCE = new URL('next-app', import.meta.url).pathname

/** The time limit for a page, because `next dev` compiles a page at its first request. */
const START_MS = 120_000

/** The folder of the copy that is built and edited. */
const placeIn = (folder: string) => join(folder, 'next-app')

/** Switches telemetry off, which would contact the Internet. */
const QUIET = { ...process.env, NEXT_TELEMETRY_DISABLED: '1', NO_COLOR: '1' }

/**
 * Copies the app, installs the packages of its lock file, and builds it. Steps whose input has not changed are skipped.
 *
 * @returns the version of Next.js
 */
export async function install(folder: string): Promise<string> {
  const place = placeIn(folder)
  mkdirSync(place, { recursive: true })
  cpSync(SOURCE, place, { recursive: true })
  await whenChanged(place, 'installed', ['package-lock.json'], () =>
    runNpm(place, ['ci', '--no-audit', '--no-fund']),
  )
  const sources = globSync(['*.json', '*.ts', 'app/**/*.*', 'public/*'], { cwd: SOURCE })
  await whenChanged(place, 'built', sources.toSorted(), () =>
    run(process.execPath, [programIn(place), 'build'], { cwd: place, env: QUIET }),
  )
  const file = join(place, 'node_modules/next/package.json')
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version
}

/** Runs a step unless it was completed before with the same files. */
async function whenChanged(
  place: string,
  step: string,
  files: readonly string[],
  act: () => Promise<unknown>,
): Promise<void> {
  const hash = createHash('sha256')
  for (const file of files) hash.update(`${file}\n`).update(readFileSync(join(SOURCE, file)))
  const [now, mark] = [hash.digest('hex'), join(place, `.${step}`)]
  if (existsSync(mark) && readFileSync(mark, 'utf8') === now) return
  await act()
  writeFileSync(mark, now)
}

function programIn(place: string): string {
  return join(place, 'node_modules/next/dist/bin/next')
}

/** A running Next.js. */
export interface Next extends Started {
  readonly url: string
  readonly program: Program
  /** Replaces a text in a source file until Next.js is stopped. */
  edit(file: string, from: string, to: string): void
}

/** Serves the app on a free port. @param mode `start` for the built app, `dev` to compile and reload */
export async function startNext(folder: string, mode: 'start' | 'dev'): Promise<Next> {
  const [place, port] = [placeIn(folder), await freePort()]
  const args = [programIn(place), mode, '-p', String(port), '-H', '127.0.0.1']
  const program = startProgram(process.execPath, args, { cwd: place, env: QUIET })
  const url = `http://127.0.0.1:${port}`
  const edited = new Set<string>()
  const stop = async () => {
    await program.stop()
    for (const file of edited) cpSync(join(SOURCE, file), join(place, file))
  }
  try {
    await program.written(/Ready in/, START_MS)
    await until('the first page', async () => (await fetch(url)).ok, START_MS)
  } catch (error) {
    await stop()
    throw error
  }
  return {
    url,
    program,
    stop,
    edit(file, from, to) {
      const text = readFileSync(join(place, file), 'utf8')
      if (!text.includes(from)) throw new Error(`${file} has no ${from}`)
      edited.add(file)
      writeFileSync(join(place, file), text.replace(from, to))
    },
  }
}
