/** Which requests have ended lately, and what was decided about each? A ring of their records, found by request id. */
import { logFields, textField } from './log-line.ts'
import type { Decision } from './record.ts'

/** How much is remembered, in bytes: some 4,000 requests. */
const MEMORY_BYTES = 2 * 1024 * 1024

const LINE_END = 0x0a

/**
 * The last few thousand decisions, as JSON text in a ring of bytes: a new one is written over the oldest. Objects that live
 * for some thousand requests are what a garbage collector is worst at: they took it 15 µs a request.
 */
export class Decisions {
  readonly #ring: Buffer
  #end = 0

  /** @param bytes how much is remembered */
  constructor(bytes = MEMORY_BYTES) {
    this.#ring = Buffer.alloc(bytes)
  }

  /** @param fields of its log line, when they have been written already */
  add(decision: Decision, fields = logFields(decision)): void {
    this.#write(fields + rememberedFields(decision))
  }

  /** The decision about a request; undefined when it is unknown, too old, or not finished. */
  find(id: string): Decision | undefined {
    // Quotes inside of texts are escaped, so this is where a record begins and nothing else.
    const start = this.#ring.indexOf(`,"id":${JSON.stringify(id)}`)
    if (start < 0) return undefined
    const end = this.#ring.indexOf(LINE_END, start)
    const text = this.#ring.toString('utf8', start + 1, end)
    return { websocket: false, ...JSON.parse(`{${text}}`) } as Decision
  }

  #write(record: string): void {
    const line = `${record}\n`
    // A character takes three bytes at most; what is left of the oldest records there has lost its beginning.
    if (this.#end + 3 * line.length > this.#ring.length) {
      this.#ring.fill(0, this.#end)
      this.#end = 0
    }
    this.#end += this.#ring.write(line, this.#end)
  }
}

/** What a record has besides the fields of the log line. */
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
