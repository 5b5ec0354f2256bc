/** How do the tests run `npm start`? As a process of its own, without npm, with an environment that they choose. */
import { spawn, type ChildProcessByStdio } from 'node:child_process'
import { once } from 'node:events'
import type { Readable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'

const START = fileURLToPath(new URL('../../embedded/start.ts', import.meta.url))

/** A workspace of `embedded/start.ts` that runs in a folder of its own. */
export interface Started {
  child: ChildProcessByStdio<null, Readable, Readable>
  folder: string
  /** Resolves with the printed text when all of it is there. */
  welcome: () => Promise<Welcome>
  /** Resolves with the exit code and the text on standard error. */
  ended: Promise<{ code: number | null; errors: string }>
}

/** What it printed, and the parts of that. */
export interface Welcome {
  text: string
  origin: string
  link: string
  credential: string
}

/** Runs `embedded/start.ts` in a folder of its own, without a ttyd on the PATH. */
export function start(
  t: Test,
  env: Record<string, string> = {},
  folder = t.testdir(),
  args: readonly string[] = [],
): Started {
  // tap gives every process NODE_OPTIONS, and so every child of npm start: the vault does not start with it.
  const { NODE_OPTIONS: options, ...rest } = env
  const node =
    options === undefined ? [process.execPath] : [`NODE_OPTIONS=${options}`, process.execPath]
  const child = spawn('/usr/bin/env', ['-u', 'NODE_OPTIONS', ...node, START, ...args], {
    cwd: folder,
    env: { PATH: folder, HOME: folder, SHELL: '/bin/sh', ...rest },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let errors = ''
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => (errors += chunk))
  const ended = once(child, 'close').then(([code]) => ({ code: code as number | null, errors }))
  t.teardown(async () => {
    child.kill('SIGKILL')
    await ended
  })
  let text = ''
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => (text += chunk))
  return {
    child,
    folder,
    ended,
    async welcome() {
      while (!text.includes('Ctrl+C stops it.')) {
        if (child.exitCode !== null) throw new Error(`it ended: ${errors}`)
        await Promise.race([once(child.stdout, 'data'), ended])
      }
      const line = (pattern: RegExp) => pattern.exec(text)?.[1] ?? ''
      return {
        text,
        origin: line(/ is up: (\S+)/),
        link: line(/(http\S+\/_gateway\/sign-in\S+)/),
        credential: line(/a name and a password:\n\s+(\S+\n\s+\S+)/).replace(/\s+/, ':'),
      }
    },
  }
}
