/** Does a body reach a service whole and in bounded portions, whenever the client and the service pause? */
import { createHash, randomBytes } from 'node:crypto'
import { IncomingMessage } from 'node:http'
import { Socket } from 'node:net'
import { setImmediate as turn } from 'node:timers/promises'
import * as fc from 'fast-check'
import t from 'tap'
import { MAX_WHOLE_BYTES, RequestBody, type BodySink } from '../../src/services/request-body.ts'
import { elapse, eventually, later } from '../helpers/waiting.ts'

/** A service that keeps the bytes it is sent, and decides when it takes more. */
class Service implements BodySink {
  onWritable: (() => void) | undefined
  readonly portions: Array<readonly Buffer[]> = []
  isComplete = false
  readonly #takes: () => boolean

  constructor(takes: () => boolean = () => true) {
    this.#takes = takes
  }

  write(pieces: readonly Buffer[]): boolean {
    if (this.isComplete) throw new Error('more after the end')
    this.portions.push(pieces)
    return this.#takes()
  }

  finish(): void {
    this.isComplete = true
  }

  get bytes(): Buffer {
    return Buffer.concat(this.portions.flat())
  }
}

const incoming = () => new IncomingMessage(new Socket())

/** Sends a body to a service once the body has begun and the connection is established. */
function send(
  source: IncomingMessage,
  service: BodySink,
  connect: (onConnect: () => void) => void = (onConnect) => onConnect(),
): RequestBody {
  const owner = {
    onBodyBegin: () => connect(() => body.sendTo(service)),
    onBodyTooLarge() {
      throw new Error('too large')
    },
  }
  const body = new RequestBody(source, owner, false)
  body.read()
  return body
}

t.test('a body in very many pieces is sent a thousand at a time', async (t) => {
  const source = incoming()
  for (let i = 0; i < 20_000; i++) source.push(Buffer.from([i & 0xff]))
  source.push(null)
  const service = new Service()
  send(source, service)
  await eventually(() => service.isComplete, 'the end')
  t.equal(service.bytes.length, 20_000)
  t.ok(service.bytes.every((byte, i) => byte === (i & 0xff)))
  t.ok(Math.max(...service.portions.map(({ length }) => length)) <= 1024)
})

t.test('a large body is sent a quarter of a megabyte at a time', async (t) => {
  const source = incoming()
  for (let i = 0; i < 100; i++) source.push(Buffer.alloc(64 * 1024, i))
  source.push(null)
  const service = new Service()
  send(source, service)
  await eventually(() => service.isComplete, 'the end')
  t.equal(service.bytes.length, 100 * 64 * 1024)
  t.ok(Math.max(...service.portions.map(({ length }) => length)) <= 4)
  t.ok(service.portions.length < 30, 'and not less')
})

t.test('the body is not read while the service is busy, nor after stop()', async (t) => {
  const source = incoming()
  const service = new Service(() => false)
  const body = send(source, service)
  t.equal(body.awaitsClient, true)
  source.push('first')
  await eventually(() => service.portions.length === 1, 'sent')
  t.equal(body.awaitsClient, false, 'it is the service that is waited for')
  t.equal(source.isPaused(), true)
  source.push('second')
  for (let i = 0; i < 5; i++) await turn()
  t.equal(String(service.bytes), 'first')
  service.onWritable?.()
  t.equal(body.awaitsClient, true)
  await eventually(() => service.portions.length === 2, 'sent')
  t.equal(String(service.bytes), 'firstsecond')
  service.onWritable?.()
  source.push('third')
  source.push(null)
  body.stop()
  for (let i = 0; i < 5; i++) await turn()
  t.equal(String(service.bytes), 'firstsecond')
  t.equal(service.isComplete, false)
  t.equal(source.listenerCount('data') + source.listenerCount('end'), 0)
})

t.test(
  'bytes that come before there is a connection are kept, and then reading pauses',
  async (t) => {
    const source = incoming()
    const service = new Service()
    let begun = 0
    const owner = { onBodyBegin: () => begun++, onBodyTooLarge() {} }
    const body = new RequestBody(source, owner, false)
    t.equal(body.awaitsClient, false, 'not before it is read')
    body.read()
    t.equal(body.awaitsClient, true)
    for (let i = 0; i < 5; i++) await turn()
    t.equal(begun, 0, 'a body without a byte has not begun')
    for (let i = 0; i < 10; i++) {
      source.push(Buffer.alloc(16 * 1024, i))
      await turn()
    }
    source.push(null)
    for (let i = 0; i < 5; i++) await turn()
    t.equal(begun, 1)
    t.equal(body.awaitsClient, false, 'it is the connection that is waited for')
    t.equal(source.isPaused(), true)
    body.sendTo(service)
    t.ok(service.bytes.length <= 48 * 1024, `${service.bytes.length} bytes were gathered`)
    await eventually(() => service.isComplete, 'the end')
    t.equal(service.bytes.length, 160 * 1024)
    t.ok(service.bytes.every((byte, i) => byte === Math.floor(i / (16 * 1024))))
  },
)

t.test('a body that ends just before its connection is established is finished once', async (t) => {
  for (const text of ['', 'all']) {
    const source = incoming()
    const service = new Service()
    let ends = 0
    service.finish = () => void ends++
    const owner = {
      onBodyBegin: () =>
        void setImmediate(() => {
          body.sendTo(service)
        }),
      onBodyTooLarge() {},
    }
    const body = new RequestBody(source, owner, false)
    body.read()
    if (text !== '') source.push(text)
    await turn()
    source.push(null)
    for (let i = 0; i < 10; i++) await turn()
    t.equal(ends, 1)
    t.equal(String(service.bytes), text)
  }
})

t.test('a whole body begins with its end, and has a length', async (t) => {
  for (const size of [0, 1, 2000, MAX_WHOLE_BYTES, MAX_WHOLE_BYTES + 1]) {
    const source = incoming()
    const service = new Service()
    const heard: Array<number | string | undefined> = []
    const owner = {
      onBodyBegin(length: number | undefined) {
        heard.push(length)
        body.sendTo(service)
      },
      onBodyTooLarge: () => heard.push('too large'),
    }
    const body = new RequestBody(source, owner, true)
    body.read()
    for (let i = 0; i < size; i++) source.push(Buffer.from([i & 0xff]))
    for (let i = 0; i < 5; i++) await turn()
    t.same(heard, size > MAX_WHOLE_BYTES ? ['too large'] : [], 'not before its end')
    source.push(null)
    await eventually(() => heard.length === 1, 'the outcome')
    t.same(heard, [size > MAX_WHOLE_BYTES ? 'too large' : size])
    t.equal(service.isComplete, size <= MAX_WHOLE_BYTES)
    if (size > MAX_WHOLE_BYTES) continue
    t.equal(service.bytes.length, size)
    t.ok(service.bytes.every((byte, i) => byte === (i & 0xff)))
  }
})

t.test('no wake-up is lost between a client and a service that pause at random', async (t) => {
  const pauses = fc.array(fc.nat({ max: 3 }), { minLength: 1, maxLength: 20 })
  const sizes = fc.array(fc.constantFrom(1, 100, 65_536, 300_000), { maxLength: 15 })
  await fc.assert(
    fc.asyncProperty(sizes, pauses, pauses, async (lengths, clientPauses, servicePauses) => {
      let writes = 0
      const service: Service = new Service(() => {
        const wait = servicePauses[writes++ % servicePauses.length] ?? 0
        if (wait === 0) return true
        const wake = () => service.onWritable?.()
        if (wait === 1) process.nextTick(wake)
        else if (wait === 2) setImmediate(wake)
        else later(1, wake)
        return false
      })
      const source = incoming()
      const delay = servicePauses.at(-1) ?? 0
      send(source, service, (onConnect) => {
        if (delay === 0) onConnect()
        else if (delay === 1) setImmediate(onConnect)
        else later(delay, onConnect)
      })
      const sent = createHash('sha256')
      for (const [i, length] of lengths.entries()) {
        const piece = randomBytes(length)
        sent.update(piece)
        source.push(piece)
        const wait = clientPauses[i % clientPauses.length] ?? 0
        if (wait === 1) await turn()
        else if (wait > 1) await elapse(wait - 1, 'a client that pauses')
      }
      source.push(null)
      await eventually(() => service.isComplete, 'the end')
      const received = createHash('sha256').update(service.bytes)
      if (received.digest('hex') !== sent.digest('hex')) throw new Error('another body')
    }),
    { numRuns: 150 },
  )
  t.pass()
})
