/** Does any form of a credential pass the scrubber? Not in any encoding it knows, and not divided among chunks in any way. */
import { randomBytes } from 'node:crypto'
import { array, assert, boolean, constantFrom, nat, property, tuple, uint8Array } from 'fast-check'
import t from 'tap'
import type { Entry } from '../../../src/vault/policy.ts'
import { Automaton } from '../../../src/vault/scrub/automaton.ts'
import { formsOf, needlesOf } from '../../../src/vault/scrub/needles.ts'
import { Scrubber, scrubText } from '../../../src/vault/scrub/scrubber.ts'
import { LINEAR_MS, cpuMs } from '../../helpers/cpu-time.ts'
import { entryOf } from '../../helpers/vault-entry.ts'

const KEY = 'ghp_Zq4Wm7/Xn2+Cv5"Bb8<k'

const automatonOf = (entry: Entry) => new Automaton(needlesOf(entry, entry.versions))

/** Scrubs a text in chunks that end at these places. */
function scrub(automaton: Automaton, text: Buffer, ends: readonly number[] = []): Buffer {
  const scrubber = new Scrubber(automaton)
  const cuts = [0, ...ends.toSorted((a, b) => a - b), text.length]
  const parts = cuts
    .slice(1)
    .map((end, i) => Buffer.from(scrubber.push(Buffer.from(text.subarray(cuts[i], end)))))
  return Buffer.concat([...parts, scrubber.end()])
}

t.test('every form is masked at every offset at which chunks may be divided', async (t) => {
  const automaton = automatonOf(entryOf({}, KEY))
  for (const form of formsOf(Buffer.from(KEY))) {
    const text = Buffer.concat([Buffer.from('{"a":"'), form, Buffer.from('"}')])
    for (let at = 0; at <= text.length; at++) {
      const scrubbed = scrub(automaton, text, [at])
      if (scrubbed.length !== text.length || scrubbed.includes(form))
        t.fail(`${form.toString('latin1')} at ${at}: ${scrubbed.toString('latin1')}`)
    }
    t.equal(scrub(automaton, text).subarray(-2).toString(), '"}', 'what is around it stays')
  }
})

t.test('the base64 of a text with the credential is masked in all three alignments', async (t) => {
  const automaton = automatonOf(entryOf({}, KEY))
  for (const before of ['', 'a', 'ab', 'user:']) {
    for (const alphabet of ['base64', 'base64url'] as const) {
      const text = Buffer.from(`${before}${KEY} and more`).toString(alphabet)
      const scrubbed = scrub(automaton, Buffer.from(text)).toString()
      t.match(scrubbed, /\*{28,}/)
      const lost = Buffer.from(scrubbed.replaceAll('*', 'A'), alphabet).toString('latin1')
      t.notMatch(lost, KEY.slice(2, 8))
    }
  }
})

t.test('the header of the kind basic is masked as a whole', async (t) => {
  const entry = entryOf(
    { kind: 'basic', slot: { header: 'authorization', template: 'me:{}' } },
    KEY,
  )
  const rendered = Buffer.from(`me:${KEY}`).toString('base64')
  const { text, hits } = scrubText(automatonOf(entry), `Basic ${rendered}`)
  t.equal(text, `Basic ${'*'.repeat(rendered.length)}`)
  t.ok(hits > 0)
})

t.test('no form of a random credential survives random chunks', async (t) => {
  assert(
    property(
      uint8Array({ minLength: 12, maxLength: 60 }),
      array(tuple(nat(40), uint8Array({ maxLength: 90 })), { maxLength: 12 }),
      array(nat(4000), { maxLength: 20 }),
      boolean(),
      (bytes, pieces, ends, isText) => {
        const value = isText
          ? Buffer.from(Buffer.from(bytes).toString('base64'))
          : Buffer.from(bytes)
        const forms = formsOf(value)
        const text = Buffer.concat(
          pieces.flatMap(([index, noise]) => [noise, forms[index % forms.length] ?? noise]),
        )
        const automaton = automatonOf(entryOf({}, value))
        const cuts = ends.filter((end) => end <= text.length)
        const scrubbed = scrub(automaton, text, cuts)
        return (
          scrubbed.length === text.length &&
          scrubbed.equals(scrub(automaton, text)) &&
          needlesOf(entryOf({}, value), []).every((needle) => !scrubbed.includes(needle))
        )
      },
    ),
    { numRuns: 400 },
  )
  t.pass('for every example')
})

t.test('the automaton finds what a plain search finds, and nothing else', async (t) => {
  const letters = array(constantFrom(0x61, 0x62), { minLength: 2, maxLength: 7 })
  assert(
    property(
      array(letters, { minLength: 1, maxLength: 4 }),
      array(constantFrom(0x61, 0x62, 0x63), { maxLength: 80 }),
      array(nat(80), { maxLength: 6 }),
      (needles, bytes, ends) => {
        const text = Buffer.from(bytes)
        const expected = Buffer.from(text)
        for (const needle of needles.map((codes) => Buffer.from(codes)))
          for (let at = text.indexOf(needle); at >= 0; at = text.indexOf(needle, at + 1))
            expected.fill('*', at, at + needle.length)
        const cuts = ends.filter((end) => end <= text.length)
        const buffers = needles.map((needle) => Buffer.from(needle))
        // With the table of all steps, and without it.
        return [undefined, 0].every((maxTable) =>
          scrub(new Automaton(buffers, maxTable), text, cuts).equals(expected),
        )
      },
    ),
    { numRuns: 3000 },
  )
  t.pass('for every example')
})

t.test('overlapping hits are all masked', async (t) => {
  const automaton = new Automaton(['abcabcab', 'cabcabxx'].map((text) => Buffer.from(text)))
  t.equal(scrub(automaton, Buffer.from('-abcabcabcabxx-')).toString(), `-${'*'.repeat(13)}-`)
})

t.test('the end of a text is held back, but for what ends with a line break', async (t) => {
  const scrubber = new Scrubber(automatonOf(entryOf({}, KEY)))
  t.equal(scrubber.push(Buffer.from('data: hello\n\n')).toString(), 'data: hello\n\n')
  t.equal(scrubber.push(Buffer.from('data: a\rdata: ghp_Z')).toString(), 'data: a\r')
  t.equal(scrubber.heldBytes, 11)
  t.equal(scrubber.push(Buffer.from('oo\n')).toString(), 'data: ghp_Zoo\n')
  t.equal(scrubber.push(Buffer.from('ghp_')).toString(), '')
  t.equal(scrubber.end().toString(), 'ghp_', 'the end of the answer releases it')
  t.equal(scrubber.hits, 0)
})

t.test('how much is held back does not tell how the credential goes on', async (t) => {
  const needles = needlesOf(entryOf({}, KEY), [])
  const automaton = new Automaton(needles)
  const longest = Math.max(...needles.map(({ length }) => length))
  const heldAfter = (text: string) => {
    const scrubber = new Scrubber(automaton)
    for (const part of text.match(/[^]{1,70}/g) ?? []) scrubber.push(Buffer.from(part))
    return scrubber.heldBytes
  }
  for (const before of ['', 'a '.repeat(20), 'a '.repeat(500)])
    for (const end of [KEY.slice(0, 5), 'ghp_x', 'xxxxx', KEY.slice(-5), '\\u006']) {
      const text = before + end
      t.equal(heldAfter(text), Math.min(text.length, longest - 1), end)
    }
})

t.test('a form that has the byte of a line break is held back as a whole', async (t) => {
  const value = 'ਅਆਇਈਉਊਏਐਓਔ' // U+0A05 …: its UTF-16 is full of 0x0a
  const automaton = automatonOf(entryOf({ kind: 'basic' }, value))
  const text = Buffer.from(value, 'utf16le')
  for (let at = 0; at <= text.length; at++)
    t.notMatch(scrub(automaton, text, [at]).toString('utf16le'), value.slice(1, 6))
})

t.test('versions that are kept are masked besides the newest', async (t) => {
  const entry = entryOf({}, 'newest-credential')
  const kept = { version: 1, createdAt: 0, keptUntil: 9, value: Buffer.from('older-credential') }
  const automaton = new Automaton(needlesOf(entry, [kept]))
  t.equal(
    scrubText(automaton, 'older-credential newest-credential').text,
    `${'*'.repeat(16)} ${'*'.repeat(17)}`,
  )
  const without = new Automaton(needlesOf(entry, []))
  t.equal(scrubText(without, 'older-credential').hits, 0)
})

t.test('text that nearly is the credential costs time in proportion to its length', async (t) => {
  const value = Buffer.from('a'.repeat(2000) + 'b')
  const automaton = new Automaton(needlesOf(entryOf({}, value), []))
  const text = Buffer.alloc(16_384, 'a')
  t.ok(cpuMs(() => scrub(automaton, text)) < LINEAR_MS)
})

t.test('how fast it is (printed, because no test is timed)', async (t) => {
  const value = Buffer.from(`ghp_${randomBytes(18).toString('hex')}`)
  const needles = needlesOf(entryOf({}, value), [])
  const automaton = new Automaton(needles)
  const json = JSON.stringify(
    Array.from({ length: 400 }, (_, id) => ({
      id,
      name: `r${id}`,
      sha: randomBytes(20).toString('hex'),
    })),
  )
  for (const [name, text] of [
    ['random', randomBytes(65_536)],
    ['JSON', Buffer.from(json)],
  ] as const) {
    const rounds = 200
    const began = performance.now()
    const scrubber = new Scrubber(automaton)
    for (let i = 0; i < rounds; i++) scrubber.push(text)
    const ms = performance.now() - began
    t.comment(
      `${name}, ${needles.length} needles: ${Math.round((rounds * text.length) / 1000 / ms)} MB/s`,
    )
  }
})

t.test(
  'needles with every byte are found, with the table of all steps and without it',
  async (t) => {
    const needle = Buffer.from(Array.from({ length: 256 }, (_, i) => 255 - i))
    for (const maxTable of [undefined, 0]) {
      const automaton = new Automaton([needle, Buffer.from('no such thing')], maxTable)
      const text = Buffer.concat([needle.subarray(0, 200), needle, Buffer.from('rest')])
      const scrubbed = scrub(automaton, text, [100, 300])
      t.same(scrubbed.subarray(0, 200), needle.subarray(0, 200))
      t.equal(scrubbed.subarray(200).toString(), `${'*'.repeat(256)}rest`)
    }
  },
)
