/** What was decided about a recent request? A ring buffer has its record, which is found by the request id. */
import { logFields, textField } from './log-line.ts'
import type { Decision } from './record.ts'

/** The size of the ring in bytes, which is enough for some 4,000 requests. */
const MEMORY_BYTES = 2 * 1024 * 1024

const LINE_END = 0x0a

/**
 * The records of recent requests, as JSON text in a ring buffer: a new record overwrites the oldest ones. Records are text
 * and not objects, because objects that live for some thousand requests cost the garbage collector 15 µs a request.
 */
export class Decisions {
  readonly #ring: Buffer
  #end = 0

  /** @param bytes the size of the ring */
  constructor(bytes = MEMORY_BYTES) {
    this.#ring = Buffer.alloc(bytes)
  }

  /** Adds a record. @param fields the fields of its log line, if the caller has made them already */
  add(decision: Decision, fields = logFields(decision)): void {
    this.#write(fields + rememberedFields(decision))
  }

  /** The record of a request; undefined when the request is unknown, too old, or not finished. */
  find(id: string): Decision | undefined {
    // JSON escapes quotes inside of texts, so only the beginning of a record matches.
    const start = this.#ring.indexOf(`,"id":${JSON.stringify(id)}`)
    if (start < 0) return undefined
    const end = this.#ring.indexOf(LINE_END, start)
    return parsed(this.#ring.toString('utf8', start, end))
  }

  /**
   * The newest records that match, the newest first. It reads the whole ring: some milliseconds.
   * @param limit how many at most
   */
  newest(limit: number, matches: (decision: Decision) => boolean): Decision[] {
    const found: Decision[] = []
    // What was written last ends at #end; before the beginning of the ring comes its end.
    for (const part of [this.#ring.subarray(0, this.#end), this.#ring.subarray(this.#end)]) {
      const lines = part.toString('utf8').split('\n').reverse()
      for (const line of lines) {
        if (found.length >= limit) return found
        const decision = line.startsWith(',') ? parsed(line) : undefined
        if (decision !== undefined && matches(decision)) found.push(decision)
      }
    }
    return found
  }

  #write(record: string): void {
    const line = `${record}\n`
    // A UTF-16 code unit takes three bytes at most. The rest of the ring is cleared: the oldest record there is incomplete.
    if (this.#end + 3 * line.length > this.#ring.length) {
      this.#ring.fill(0, this.#end)
      this.#end = 0
    }
    this.#end += this.#ring.write(line, this.#end)
  }
}

/** A record; undefined for the rest of one whose beginning was overwritten. */
function parsed(line: string): Decision | undefined {
  try {
    return { websocket: false, ...JSON.parse(`{${line.slice(1)}}`) } as Decision
  } catch {
    return undefined
  }
}

/** The fields of a record that are not in the log line. */
function rememberedFields(decision: Decision): string {
  const { at, peer, viaProxy, scheme, credential, credentialError, credentialReason } = decision
  return (
    `,"at":${Math.round(at)},"viaProxy":${viaProxy}` +
    textField('peer', peer) +
    textField('scheme', scheme) +
    textField('credential', credential) +
    textField('credentialError', credentialError) +
    textField('credentialReason', credentialReason) +
    textField('budget', decision.budget)
  )
}
