/** Does the end of an answer leave with what came before it, when its length is known? */
import { Readable, Writable } from 'node:stream'
import t from 'tap'
import { pumpAnswer } from '../../../src/vault/forward/pump.ts'
import type { RunningUse } from '../../../src/vault/forward/running-use.ts'
import { Automaton } from '../../../src/vault/scrub/automaton.ts'
import { Scrubber } from '../../../src/vault/scrub/scrubber.ts'

const SECRET = 'abcdefghijkl'

/** What a sink gets of an answer in these chunks. */
async function written(chunks: readonly string[], length: number | undefined) {
  const pieces: string[] = []
  const run = {
    bytes: 0,
    hits: 0,
    signal: new AbortController().signal,
    touch() {},
    reflected() {
      run.hits++
    },
  }
  const sink = new Writable({
    write(piece: Buffer, _encoding, done) {
      pieces.push(piece.toString())
      done()
    },
  })
  const source = Readable.from(chunks.map((chunk) => Buffer.from(chunk)))
  const scrubber = new Scrubber(new Automaton([Buffer.from(SECRET)]))
  await pumpAnswer(source, sink, scrubber, { run: run as unknown as RunningUse, length })
  return { pieces, bytes: run.bytes, hits: run.hits }
}

t.test('an answer of a known length that comes whole leaves whole', async (t) => {
  const text = 'an answer without a line break'
  t.same(await written([text], text.length), { pieces: [text], bytes: text.length, hits: 0 })
})

t.test('its last bytes are scrubbed with those before', async (t) => {
  const { pieces, hits } = await written(['x abcdef', 'ghijkl'], 14)
  t.equal(pieces.join(''), 'x ************')
  t.ok(hits > 0)
})

t.test('of an unknown length, or behind it, the end is held back until it is one', async (t) => {
  const text = 'an answer without a line break'
  for (const length of [undefined, text.length + 1]) {
    const { pieces, bytes } = await written([text], length)
    t.equal(pieces.length, 2)
    t.equal(pieces.join(''), text)
    t.equal(bytes, text.length)
  }
})
