/** In which pieces does a client get output? An answer at once and as it is; endless output joined; and all of it in its order. */
import t from 'tap'
import { OutputBatch } from '../../../src/terminals/keeper/output-batch.ts'

/** A batch, and what it wrote. Its clock stands still. */
function batch() {
  const written: string[] = []
  const output = new OutputBatch(
    () => 0,
    (message) => written.push(message.toString()),
  )
  t.teardown(() => output.drop())
  return { output, written }
}

const PIECE = Buffer.from(`0${'x'.repeat(4095)}`)

t.test('little output is sent at once', async (t) => {
  const { output, written } = batch()
  output.send(Buffer.from('0a'))
  output.send(Buffer.from('0b'))
  t.strictSame(written, ['0a', '0b'])
})

t.test('endless output is joined, and nothing overtakes it', async (t) => {
  const { output, written } = batch()
  for (let sent = 0; sent < 12; sent++) output.send(PIECE)
  t.equal(written.length, 4, '16 KiB are no endless output yet')
  output.send(Buffer.from('1title'))
  t.equal(written.length, 6)
  t.equal(written[4], `0${'x'.repeat(8 * 4095)}`)
  t.equal(written[5], '1title')
})

t.test('what is joined has a bound, and does not wait for it', async (t) => {
  const { output, written } = batch()
  for (let sent = 0; sent < 64; sent++) output.send(PIECE)
  for (const message of written) t.ok(message.length <= 64 * 1024)
  const { promise, resolve } = Promise.withResolvers<void>()
  const late = new OutputBatch(
    () => 0,
    (message) => (message.length > PIECE.length ? resolve() : undefined),
  )
  for (let sent = 0; sent < 7; sent++) late.send(PIECE)
  await promise
})
