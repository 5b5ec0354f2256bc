/**
 * What does `npm test` print where no terminal shows it? Everything about what failed, and nothing about what passed, because
 * the thousands of lines of whole TAP hide the one that matters. The sum stays in TAP's own words, which .ci/run reads.
 */
import { Transform, type TransformCallback } from 'node:stream'
import { StringDecoder } from 'node:string_decoder'

/** A sign of life after this many files: the suite takes minutes. */
const FILES_A_SIGN = 25

/** Lines of a failed file that are not TAP, such as what a crash prints: at most this many, the last ones. */
const MAX_EXTRA_LINES = 300

const TEST_POINT = /^( *)(not ok|ok)\b/

/** Takes TAP apart, line by line; tap loads it by its path (`TAP_REPORTER` in package.json). */
export default class BriefReport extends Transform {
  readonly #decoder = new StringDecoder('utf8')
  #rest = ''
  /** Titles of the subtests around the current line that have not been printed, outermost first. */
  #titles: Array<{ indent: number; line: string }> = []
  /** The indentation of the diagnostics that are being read; undefined outside of diagnostics. */
  #diagnostics: number | undefined
  /** Whether the last test point failed, so that its diagnostics are printed. */
  #isFailing = false
  /** Lines of the current file that are not TAP. */
  #extra: string[] = []
  #files = 0

  override _transform(chunk: Buffer, _encoding: BufferEncoding, done: TransformCallback): void {
    const lines = (this.#rest + this.#decoder.write(chunk)).split('\n')
    this.#rest = lines.pop() ?? ''
    for (const line of lines) this.#read(line)
    done()
  }

  override _flush(done: TransformCallback): void {
    if (this.#rest !== '') this.#read(this.#rest)
    this.#printExtra()
    done()
  }

  #read(line: string): void {
    if (this.#readDiagnostics(line)) return
    const [, indent, result] = TEST_POINT.exec(line) ?? []
    if (indent !== undefined) this.#readTestPoint(line, indent.length, result === 'ok')
    else if (/^ *# Subtest/.test(line)) this.#enter(line)
    else if (/^Bail out!|^# (?:\{|time=|No cov|fail|skip)|^1\.\.|# SKIP/i.test(line))
      this.#print(line)
    else if (!/^ *(?:1\.\.|\}|\{|$|# (?:time=|\{)|TAP version)/.test(line)) this.#extra.push(line)
  }

  /** @returns whether the line belongs to the diagnostics of the test point before it */
  #readDiagnostics(line: string): boolean {
    if (this.#diagnostics === undefined) {
      const [, indent] = /^( +)---$/.exec(line) ?? []
      if (indent === undefined) return false
      this.#diagnostics = indent.length
    }
    if (this.#isFailing) this.#print(line)
    if (line === `${' '.repeat(this.#diagnostics)}...`) this.#diagnostics = undefined
    return true
  }

  #enter(line: string): void {
    const indent = line.search(/\S/)
    this.#titles = this.#titles.filter((title) => title.indent < indent)
    this.#titles.push({ indent, line })
  }

  #readTestPoint(line: string, indent: number, isPassing: boolean): void {
    this.#isFailing = !isPassing
    if (!isPassing) {
      for (const title of this.#titles) this.#print(title.line)
      this.#titles = []
      if (indent === 0) this.#printExtra()
    }
    if (!isPassing || /# (?:SKIP|TODO)\b/i.test(line)) this.#print(line)
    this.#titles = this.#titles.filter((title) => title.indent < indent)
    if (indent > 0) return
    this.#extra = []
    if (++this.#files % FILES_A_SIGN === 0) this.#print(`# ${this.#files} files have run`)
  }

  /** Prints what a failed file wrote besides TAP. */
  #printExtra(): void {
    for (const line of this.#extra.slice(-MAX_EXTRA_LINES)) this.#print(line)
    this.#extra = []
  }

  #print(line: string): void {
    this.push(`${line}\n`)
  }
}
