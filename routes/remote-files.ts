/**
 * Where do the files of the remote page come from? From the folder that the build has written. They are read when somebody asks for the
 * page, because most gateways run for months without. The build has compressed them too: nothing is compressed for a request.
 */
import { createHash } from 'node:crypto'
import { readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { NO_REMOTE_PAGE_DETAIL } from '../src/answers/details.ts'
import { GatewayError } from '../src/answers/errors.ts'
import type { RemotePageFiles } from '../src/answers/pages/remote-page.ts'
import type { ContentCoding } from '../src/http/content-coding.ts'

/** The folder of the build: beside the one file of the program, or in `dist` when the program runs from its sources. */
const BUILT_FOLDER = join(
  import.meta.dirname,
  import.meta.filename.endsWith('.ts') ? '../dist/remote' : 'remote',
)

/** A file of the page, ready to be sent. */
interface RemoteFile {
  readonly type: string
  readonly plain: RemoteBody
  /** The same, compressed; only where the build has done it. */
  readonly coded: ReadonlyMap<ContentCoding, RemoteBody>
}

/** One representation of a file. */
interface RemoteBody {
  readonly bytes: Buffer
  /** The ETag, another one for each coding (RFC 9110 section 8.8.3.3). */
  readonly tag: string
}

/** All files of the page, as they are now. */
interface RemoteFiles {
  readonly names: RemotePageFiles
  /** By name. A name changes with the text, so that browsers may keep a file for ever. */
  readonly byName: ReadonlyMap<string, RemoteFile>
}

const SCRIPT = 'remote.js'
const STYLE = 'remote.css'

/** Where each coding of a file stands: beside it, with this behind the name that the text gives it. */
const ENDINGS = [
  ['gzip', '.gz'],
  ['br', '.br'],
] as const

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
      const files = await this.#filesNow()
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

  async #filesNow(): Promise<RemoteFiles> {
    const [script, style] = await Promise.all([
      readFile(this.#path(SCRIPT)),
      readFile(this.#path(STYLE)),
    ])
    const names = { script: remoteFileName(SCRIPT, script), style: remoteFileName(STYLE, style) }
    const [codedScript, codedStyle] = await Promise.all([
      this.#coded(names.script),
      this.#coded(names.style),
    ])
    const [js, css] = ['text/javascript; charset=utf-8', 'text/css; charset=utf-8'] as const
    return {
      names,
      byName: new Map([
        [names.script, { type: js, plain: bodyOf(script), coded: codedScript }],
        [names.style, { type: css, plain: bodyOf(style), coded: codedStyle }],
      ]),
    }
  }

  /** What the build has compressed of a file. Its name is of this very text, so that none of another build is sent for it. */
  async #coded(name: string): Promise<ReadonlyMap<ContentCoding, RemoteBody>> {
    const coded = new Map<ContentCoding, RemoteBody>()
    for (const [coding, ending] of ENDINGS) {
      const bytes = await readFile(this.#path(name + ending)).catch(() => undefined)
      if (bytes !== undefined) coded.set(coding, bodyOf(bytes))
    }
    return coded
  }

  async #versionNow(): Promise<string> {
    const found = await Promise.all(
      ['.', SCRIPT, STYLE].map((name) => stat(this.#path(name), { bigint: true })),
    )
    return found.map(({ ino, mtimeNs }) => `${ino} ${mtimeNs}`).join()
  }

  #path(name: string): string {
    return join(this.#folder, name)
  }
}

function bodyOf(bytes: Buffer): RemoteBody {
  return { bytes, tag: `"${digestOf(bytes)}"` }
}

/** The name of a file by its text: `remote-<16 characters>.js`. */
export function remoteFileName(file: string, text: string | Uint8Array): string {
  return file.replace('.', `-${digestOf(text)}.`)
}

/** A short name for a content: another one has another. */
export function digestOf(content: string | Uint8Array): string {
  return createHash('sha256').update(content).digest('base64url').slice(0, 16)
}
