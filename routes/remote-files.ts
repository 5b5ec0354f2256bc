/**
 * Where do the files of the remote page come from? From the folder that the build has written. They are read when somebody asks for the
 * page, because most gateways run for months without.
 */
import { createHash } from 'node:crypto'
import { readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { NO_REMOTE_PAGE_DETAIL } from '../src/answers/details.ts'
import { GatewayError } from '../src/answers/errors.ts'
import type { RemotePageFiles } from '../src/answers/pages/remote-page.ts'

/** The folder of the build: beside the one file of the program, or in `dist` when the program runs from its sources. */
const BUILT_FOLDER = join(
  import.meta.dirname,
  import.meta.filename.endsWith('.ts') ? '../dist/remote' : 'remote',
)

/** A file of the page, ready to be sent. */
interface RemoteFile {
  readonly type: string
  readonly text: string
}

/** All files of the page, as they are now. */
interface RemoteFiles {
  readonly names: RemotePageFiles
  /** By name. A name changes with the text, so that browsers may keep a file for ever. */
  readonly byName: ReadonlyMap<string, RemoteFile>
}

const SCRIPT = 'remote.js'
const STYLE = 'remote.css'

/** Reads the files of the page, and reads them again when they were built anew. */
export class RemoteFolder {
  readonly #folder: string
  #files: RemoteFiles | undefined
  #version = ''

  /** @param folder with `remote.js` and `remote.css`. Default: the one that `npm run build` writes */
  constructor(folder = BUILT_FOLDER) {
    this.#folder = folder
  }

  /** The files. @throws {GatewayError} `not-found`, when they were not built */
  async read(): Promise<RemoteFiles> {
    try {
      const version = await this.#versionNow()
      if (this.#files !== undefined && version === this.#version) return this.#files
      const [script, style] = await Promise.all([this.#text(SCRIPT), this.#text(STYLE)])
      const files = filesOf(script, style)
      this.#files = files
      this.#version = version
      return files
    } catch (cause) {
      throw new GatewayError('not-found', {
        reason: 'the remote page is not built',
        detail: NO_REMOTE_PAGE_DETAIL,
        cause,
      })
    }
  }

  async #versionNow(): Promise<string> {
    const found = await Promise.all(
      [SCRIPT, STYLE].map((name) => stat(join(this.#folder, name), { bigint: true })),
    )
    return found.map(({ ino, mtimeNs }) => `${ino} ${mtimeNs}`).join()
  }

  #text(name: string): Promise<string> {
    return readFile(join(this.#folder, name), 'utf8')
  }
}

function filesOf(script: string, style: string): RemoteFiles {
  const names = { script: nameOf(SCRIPT, script), style: nameOf(STYLE, style) }
  return {
    names,
    byName: new Map([
      [names.script, { type: 'text/javascript; charset=utf-8', text: script }],
      [names.style, { type: 'text/css; charset=utf-8', text: style }],
    ]),
  }
}

function nameOf(file: string, text: string): string {
  return file.replace('.', `-${digestOf(text)}.`)
}

/** A short name for a text: another text has another. */
export function digestOf(text: string): string {
  return createHash('sha256').update(text).digest('base64url').slice(0, 16)
}
