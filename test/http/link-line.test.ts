/** Is the first line of a connection of the link read as it was written, and nothing else taken for one? */
import * as fc from 'fast-check'
import t from 'tap'
import {
  isDeviceId,
  MAX_LINK_LINE_BYTES,
  readLinkLine,
  writeLinkLine,
} from '../../src/http/link-line.ts'

/** What every refusal says. */
const REFUSED = { message: /^(?:the first line|the id|relay and sub) / }

const DEVICE = {
  kind: 'device',
  device: 'AAAAAAAAAAAAAAAAAAAAAA',
  relay: 'wss://relay.example.com',
  sub: 'alice',
  name: 'Phone',
} as const

t.test('a line is read as it was written, and what follows it is left alone', async (t) => {
  for (const line of [DEVICE, { kind: 'link' } as const]) {
    const written = writeLinkLine(line)
    const read = readLinkLine(Buffer.concat([written, Buffer.from('GET / HTTP/1.1\r\n')]))
    t.same(read, { line, length: written.length })
  }
  t.equal(String(writeLinkLine({ kind: 'link' })), 'LINK/1 {"kind":"link"}\n')
})

t.test('a line that is not complete is waited for, byte by byte', async (t) => {
  const written = writeLinkLine(DEVICE)
  for (let length = 0; length < written.length; length++)
    t.equal(readLinkLine(written.subarray(0, length)), undefined)
})

t.test('a name of any text comes through, cut where it does not fit', async (t) => {
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme', maxLength: 3000 }), (name) => {
      const written = writeLinkLine({ ...DEVICE, name })
      const read = readLinkLine(written)?.line
      return (
        written.length <= MAX_LINK_LINE_BYTES &&
        read?.kind === 'device' &&
        name.startsWith(read.name)
      )
    }),
  )
  const read = readLinkLine(writeLinkLine({ ...DEVICE, name: 'x'.repeat(5000) }))?.line
  t.ok(read?.kind === 'device' && read.name.length > 800, 'as much of it as fits')
  t.throws(() => writeLinkLine({ ...DEVICE, sub: 'x'.repeat(1000) }), REFUSED)
  t.throws(() => writeLinkLine({ ...DEVICE, device: 'phone' }), REFUSED)
})

t.test('a connection that begins with anything else is refused', async (t) => {
  const json = (value: unknown) => `LINK/1 ${JSON.stringify(value)}\n`
  for (const [what, text] of [
    ['HTTP', 'GET / HTTP/1.1\r\n'],
    ['another version', json(DEVICE).replace('LINK/1', 'LINK/2')],
    ['no JSON', 'LINK/1 {\n'],
    ['no object', 'LINK/1 null\n'],
    ['a list', 'LINK/1 []\n'],
    ['another kind', json({ kind: 'owner' })],
    ['a field too many', json({ ...DEVICE, amr: 'otp' })],
    ['a field too many of the link', json({ kind: 'link', device: DEVICE.device })],
    ['a field too few', json({ ...DEVICE, name: undefined })],
    ['a field of another type', json({ ...DEVICE, name: 1 })],
    ['nobody', json({ ...DEVICE, sub: '' })],
    ['no id', json({ ...DEVICE, device: 'phone' })],
    ['an empty line', '\n'],
    ['a line without end', 'LINK/1 '.padEnd(MAX_LINK_LINE_BYTES, 'x')],
    ['a line that is too long', `${'LINK/1 '.padEnd(MAX_LINK_LINE_BYTES, 'x')}\n`],
  ] as const)
    t.throws(() => readLinkLine(Buffer.from(text)), REFUSED, what)
  t.throws(() => readLinkLine(Buffer.from(json(DEVICE).replace('Phone', '\xff'), 'latin1')))
})

t.test('an id has one spelling', async (t) => {
  t.ok(isDeviceId(Buffer.alloc(16, 0xff).toString('base64url')))
  t.notOk(isDeviceId('AAAAAAAAAAAAAAAAAAAAAB'), 'stray bits')
  t.notOk(isDeviceId('AAAAAAAAAAAAAAAAAAAAA'), 'too short')
})
