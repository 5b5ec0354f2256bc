/** How does a test use `workspace-gateway remote` or `pair` as a person does? In a terminal of its own, whose keys and screen it has. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { spawn } from '@lydell/node-pty'
import type { Test } from 'tap'
import { offerDigits, type Offer } from '../../src/relay/protocol/offer.ts'
import { Arrivals } from './waiting.ts'

/** A command in a terminal. */
export interface RemotePty {
  readonly pid: number
  /** Everything that the terminal was told to show. */
  readonly shown: () => string
  type(keys: string): void
  resize(columns: number, rows: number): void
  /** Waits until what is shown matches, behind what was waited for before. */
  until(pattern: RegExp): Promise<RegExpExecArray>
  /** The exit code. */
  readonly over: Promise<number>
}

/** A link to a page, as `workspace-gateway pair` prints it. */
export const linkOf = (offer: Offer) =>
  `https://houston.hubify.com/_gateway/remote/#${offerDigits(offer)}`

/** A folder for the pairing of one test, and the path of the file in it. */
export function configFolder(t: Test): { readonly folder: string; readonly file: string } {
  const folder = mkdtempSync(join(tmpdir(), 'remote-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  return { folder, file: join(folder, 'workspace-gateway', 'remote.json') }
}

/**
 * Runs a command line of a shell in a terminal, in which `remote` is the command.
 * @param folder of the pairing
 */
export function startRemotePty(t: Test, folder: string, script: string): RemotePty {
  const program = `remote() { '${process.execPath}' src/main.ts remote "$@"; }`
  return startPty(t, `${program}\n${script}`, { env: { XDG_CONFIG_HOME: folder } })
}

/** Runs a command line of a shell in a terminal. */
export function startPty(
  t: Test,
  script: string,
  {
    env: more = {},
    columns = 80,
    rows = 24,
  }: { env?: Record<string, string>; columns?: number; rows?: number } = {},
): RemotePty {
  const env = { PATH: process.env['PATH'] ?? '', TERM: 'xterm', ...more }
  const pty = spawn('/bin/sh', ['-c', script], { env, cols: columns, rows })
  const arrivals = new Arrivals()
  let shown = ''
  let at = 0
  let isOver = false
  pty.onData((data) => {
    shown += data
    arrivals.wake()
  })
  const over = new Promise<number>((resolve) => {
    pty.onExit(({ exitCode }) => {
      isOver = true
      arrivals.wake()
      resolve(exitCode)
    })
  })
  t.teardown(async () => {
    if (!isOver) pty.kill('SIGKILL')
    await over
  })
  return {
    ...{ pid: pty.pid, over },
    shown: () => shown,
    type: (keys) => pty.write(keys),
    resize: (...size) => pty.resize(...size),
    until: async (pattern) => {
      const found = await arrivals.until(() => {
        const match = pattern.exec(shown.slice(at))
        return match ?? (isOver ? null : undefined)
      })
      if (found === null) throw new Error(`it ended without ${pattern}: ${shown.slice(at)}`)
      at += found.index + found[0].length
      return found
    },
  }
}

/** The fields of a pairing's file. */
export const pairingIn = (file: string) =>
  JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown>
