/** What was decided about a recent request? A ring buffer has its record, which is found by the request id. */
import { logFields, plainField, textField } from './log-line.ts'
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
    this.#write(fields, rememberedFields(decision))
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
   * The newest requests that were refused, or failed, the newest first: those that the gateway itself answered with an error. A
   * browser that was led to sign in, or to show a second factor, is none of them, because it comes back. Only what is returned is
   * parsed; the rest of the ring is searched at most once, in some milliseconds.
   * @param limit how many at most
   */
  newestRefusals(limit: number): Decision[] {
    const found: Decision[] = []
    // What was written last ends at #end; before the beginning of the ring comes its end.
    for (const part of [this.#ring.subarray(0, this.#end), this.#ring.subarray(this.#end)]) {
      // The rest of a record whose beginning was overwritten is none, so nothing is searched for at offset 0.
      for (let at = part.length; at > 0 && found.length < limit;) {
        at = part.lastIndexOf(CODE_FIELD, at - 1)
        if (at < 0) break
        if (!isErrorBefore(part, at)) continue
        const start = part.lastIndexOf(LINE_END, at) + 1
        const line = part.toString('utf8', start, lineEnd(part, at))
        const decision = line.startsWith(FIRST_FIELD) ? parsed(line) : undefined
        if (decision !== undefined) found.push(decision)
      }
    }
    return found
  }

  /** Writes a record in two parts, because the first is written to the log too: V8 then joins its pieces once and not twice. */
  #write(fields: string, rest: string): void {
    // A UTF-16 code unit takes three bytes at most. The rest of the ring is cleared: the oldest record there is incomplete.
    if (this.#end + 3 * (fields.length + rest.length) > this.#ring.length) {
      this.#ring.fill(0, this.#end)
      this.#end = 0
    }
    this.#end += this.#ring.write(fields, this.#end)
    this.#end += this.#ring.write(rest, this.#end)
  }
}

/** The beginning of a record, and of its field `code`. JSON escapes quotes inside of texts, so nothing that a client sends matches. */
const FIRST_FIELD = ',"id":"'
const CODE_FIELD = ',"code":"'
const [COLON, FOUR, FIVE] = [0x3a, 0x34, 0x35] as const

/** Whether the field `status`, which is written before `code`, is 4xx or 5xx. */
function isErrorBefore(part: Buffer, at: number): boolean {
  return part[at - 4] === COLON && (part[at - 3] === FOUR || part[at - 3] === FIVE)
}

function lineEnd(part: Buffer, from: number): number {
  const end = part.indexOf(LINE_END, from)
  return end < 0 ? part.length : end
}

/** A record; undefined for the rest of one whose beginning was overwritten. */
function parsed(line: string): Decision | undefined {
  try {
    return { websocket: false, ...JSON.parse(`{${line.slice(1)}}`) } as Decision
  } catch {
    return undefined
  }
}

/** The rest of a record: the fields that are not in the log line, and the end of the line. */
function rememberedFields(decision: Decision): string {
  const { at, peer, viaProxy, scheme, credential, credentialError, credentialReason } = decision
  return (
    `,"at":${Math.round(at)},"viaProxy":${viaProxy}` +
    textField('peer', peer) +
    textField('relay', decision.relay) +
    plainField('scheme', scheme) +
    plainField('credential', credential) +
    plainField('credentialError', credentialError) +
    textField('credentialReason', credentialReason) +
    `${textField('budget', decision.budget)}\n`
  )
}
