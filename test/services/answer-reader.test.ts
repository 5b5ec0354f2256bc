/** Does the reader frame a response as every other HTTP/1.1 parser does, however it is cut, and refuse one on which they differ? */
import * as fc from 'fast-check'
import { request } from 'node:http'
import { Duplex } from 'node:stream'
import t from 'tap'
import {
  AnswerReader,
  MAX_HEAD_BYTES,
  MAX_INFORMATIONAL_BYTES,
  MalformedAnswer,
} from '../../src/services/answer-reader.ts'
import { cpuMs, LINEAR_MS } from '../helpers/cpu-time.ts'

/** What was read of a connection's bytes. */
interface Reading {
  /** The status and the fields of each informational response. */
  informational?: Array<[status: number, ...fields: string[]]>
  status?: number
  fields?: string[]
  length?: number | undefined
  body: string
  /** Whether the connection may be used again after the response. */
  persists?: boolean
  problem?: string
}

const latin1 = (text: string) => Buffer.from(text, 'latin1')

/** Reads one response. @param closes whether the service closes its side after it */
function read(pieces: readonly Buffer[], { isHead = false, closes = true } = {}): Reading {
  const reading: Reading = { body: '' }
  const reader = new AnswerReader({
    onInformational(status, fields) {
      ;(reading.informational ??= []).push([status, ...fields])
    },
    onHead(status, fields, length) {
      Object.assign(reading, { status, fields, length })
    },
    onBody(piece) {
      reading.body += piece.toString('latin1')
      piece.fill('!') // the connection reads the next bytes into the same memory
    },
    onEnd(persists) {
      reading.persists = persists
    },
  })
  reader.expect(isHead)
  try {
    for (const piece of pieces) {
      const bytes = Buffer.from(piece)
      reader.read(bytes)
      bytes.fill('!')
    }
    if (closes) reader.close()
  } catch (error) {
    if (!(error instanceof MalformedAnswer)) throw error
    reading.problem = error.message
  }
  return reading
}

const whole = (text: string, options = {}) => read([latin1(text)], options)

/** The same bytes one by one, and cut in two at each place. */
function* cuts(text: string): Generator<Buffer[]> {
  yield Array.from(text, (character) => latin1(character))
  for (let i = 1; i < text.length; i++) yield [latin1(text.slice(0, i)), latin1(text.slice(i))]
}

const GOOD: ReadonlyArray<readonly [answer: string, expected: Partial<Reading>, why: string]> = [
  [
    'HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello',
    {
      status: 200,
      fields: ['Content-Type', 'text/plain', 'Content-Length', '5'],
      length: 5,
      body: 'hello',
      persists: true,
    },
    'a body with a length',
  ],
  [
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nA\r\n, world...\r\n0\r\n\r\n',
    { length: undefined, body: 'hello, world...', persists: true },
    'chunks',
  ],
  [
    'HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n05;name="a;b"\r\nhello\r\n000\r\nX-Sum: 1\r\nX-Other: 2\r\n\r\n',
    { body: 'hello', persists: true },
    'chunks with extensions, leading zeros and trailers, which are dropped',
  ],
  [
    `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n000000000000000005\r\nhello\r\n${'0'.repeat(40)}\r\n\r\n`,
    { body: 'hello', persists: true },
    'sizes of chunks with more leading zeros than a number has digits',
  ],
  ['HTTP/1.1 200 OK\r\n\r\nuntil the end', { body: 'until the end', persists: false }, 'no length'],
  ['HTTP/1.0 200 OK\r\n\r\nold', { body: 'old', persists: false }, 'HTTP/1.0'],
  [
    'HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nold',
    { body: 'old', persists: false },
    'HTTP/1.0 ends its connections',
  ],
  [
    'HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 3\r\n\r\nold',
    { body: 'old', persists: true },
    'unless it says otherwise',
  ],
  [
    'HTTP/1.1 200 OK\r\nConnection: X-A, Close\r\nContent-Length: 2\r\n\r\nhi',
    { body: 'hi', persists: false },
    'Connection: close',
  ],
  [
    'HTTP/1.1 200 OK\r\nConnection: close\r\nConnection: X-A\r\nContent-Length: 2\r\n\r\nhi',
    { body: 'hi', persists: false },
    'Connection in two lines',
  ],
  [
    'HTTP/1.1 200 OK\r\nConnection: closed\r\nContent-Length: 2\r\n\r\nhi',
    { persists: true },
    'another word that begins with close',
  ],
  [
    'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n',
    { length: 0, body: '', persists: true },
    'empty',
  ],
  ['HTTP/1.1 204 No Content\r\n\r\n', { status: 204, persists: true }, '204'],
  [
    'HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n',
    { status: 204, persists: true },
    '204 that says so twice',
  ],
  [
    'HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n',
    { status: 204, length: 0, body: '', persists: false },
    '204 that announces a body, which may follow',
  ],
  [
    'HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n',
    { status: 204, length: 0, body: '', persists: false },
    'or chunks',
  ],
  [
    'HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n',
    { status: 304, fields: ['Content-Length', '99'], persists: true },
    '304 tells the length that the body would have',
  ],
  [
    'HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n',
    { status: 304, persists: true },
    'or its coding',
  ],
  ['HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nhi', { status: 200, body: 'hi' }, 'no reason phrase'],
  ['HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nhi', { body: 'hi' }, 'an empty one'],
  ['HTTP/1.1 200 Schön\r\nContent-Length: 2\r\n\r\nhi', { body: 'hi' }, 'one with other letters'],
  ['HTTP/1.1 299 Own\r\nContent-Length: 2\r\n\r\nhi', { status: 299 }, 'an unknown status'],
  ['HTTP/1.1 600 Odd\r\nContent-Length: 2\r\n\r\nhi', { status: 600 }, 'and one past the classes'],
  [
    'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi',
    {
      informational: [[103, 'Link', '</a>']],
      ...{ status: 200, fields: ['Content-Length', '2'], body: 'hi', persists: true },
    },
    'informational answers before the answer, of which 100 is nobody’s business',
  ],
  [
    'HTTP/1.1 200 OK\r\nX-A:  a b\t \r\nX-B:\r\nx-a: \xe9\r\nContent-Length: 0\r\n\r\n',
    { fields: ['X-A', 'a b', 'X-B', '', 'x-a', '\xe9', 'Content-Length', '0'] },
    'white space around values, empty ones, repeated names, other letters',
  ],
]

for (const [answer, expected, why] of GOOD) {
  t.test(why, async (t) => {
    const once = whole(answer)
    t.match(once, expected)
    t.equal(once.problem, undefined)
    for (const pieces of cuts(answer)) {
      const { length } = pieces
      t.strictSame(read(pieces), once, `in ${length} pieces, the first of ${pieces[0]?.length}`)
    }
  })
}

t.test('a response to a HEAD has no body, whatever its fields say', async (t) => {
  for (const fields of ['Content-Length: 9', 'Transfer-Encoding: chunked', 'Content-Length: 0']) {
    const persists = fields.endsWith(' 0') // a service may send the body that it announces: the next response must not begin with it
    const answer = `HTTP/1.1 200 OK\r\n${fields}\r\n\r\n`
    t.match(whole(answer, { isHead: true, closes: false }), {
      status: 200,
      body: '',
      persists,
    })
    const { problem, body } = whole(`${answer}123456789`, { isHead: true, closes: false })
    t.same([problem, body], ['bytes that belong to no answer', ''], 'what follows is no answer')
  }
})

const ok = (...lines: string[]) => `HTTP/1.1 200 OK\r\n${lines.join('\r\n')}\r\n\r\n`

/** An informational response of 32 bytes. */
const INFORMATIONAL = 'HTTP/1.1 102 Processing\r\nA:b\r\n\r\n'

const BAD: ReadonlyArray<readonly [answer: string, problem: string]> = [
  ['', 'closed without an answer'],
  ['HTTP/1.1 200 OK\r\nContent-Len', 'closed before the end of its answer'],
  [`${ok('Content-Length: 6')}hello`, 'closed before the end of its answer'],
  [`${ok('Transfer-Encoding: chunked')}5\r\nhello\r\n`, 'closed before the end of its answer'],
  [`${ok('Transfer-Encoding: chunked')}0\r\n`, 'closed before the end of its answer'],
  [`${ok('Content-Length: 2')}hi!`, 'bytes that belong to no answer'],
  [`${ok('Transfer-Encoding: chunked')}0\r\n\r\n!`, 'bytes that belong to no answer'],
  ['HTTP/1.1 204 No Content\r\n\r\nhi', 'bytes that belong to no answer'],
  ['SSH-2.0-OpenSSH_9.6\r\n', 'no HTTP/1.1'],
  ['<html>', 'no HTTP/1.1'],
  ['\r\nHTTP/1.1 200 OK\r\n\r\n', 'a status line that is none'],
  ['http/1.1 200 OK\r\n\r\n', 'a status line that is none'],
  ['HTTP/2 200\r\n\r\n', 'a status line that is none'],
  ['HTTP/1.2 200 OK\r\n\r\n', 'a status line that is none'],
  ['HTTP/1.1  200 OK\r\n\r\n', 'a status line that is none'],
  ['HTTP/1.1 200OK\r\n\r\n', 'a status line that is none'],
  ['HTTP/1.1 2000 OK\r\n\r\n', 'a status line that is none'],
  ['HTTP/1.1 099 OK\r\n\r\n', 'a status line that is none'],
  ['HTTP/1.1 20\r\n\r\n', 'a status line that is none'],
  ['HTTP/1.1 200 O\0K\r\n\r\n', 'a status line that is none'],
  [
    'HTTP/1.1 101 Switching Protocols\r\nUpgrade: a\r\n\r\n',
    'a switch of protocols that nobody asked for',
  ],
  [INFORMATIONAL.repeat(MAX_INFORMATIONAL_BYTES / 32 + 1), 'too much of informational answers'],
  ['HTTP/1.1 200 OK\nContent-Length: 0\n\n', 'a line end without CR'],
  ['HTTP/1.1 200 OK\r\nX-A: a\nX-B: b\r\n\r\n', 'a field value with control characters'],
  ['HTTP/1.1 200 OK\r\nX-A: a\rX-B: b\r\n\r\n', 'a field value with control characters'],
  [ok('X-A: a\0b'), 'a field value with control characters'],
  [ok('X-A: a\x7fb'), 'a field value with control characters'],
  [ok('X-A: a', ' folded'), 'a field without a colon'],
  [ok('X-A: a', ' folded: b'), 'a field name with other characters'],
  [ok(' X-A: a'), 'a field name with other characters'],
  [ok('X-A : a'), 'a field name with other characters'],
  [ok('X A: a'), 'a field name with other characters'],
  [ok('X-\xe9: a'), 'a field name with other characters'],
  [ok(': a'), 'a field name with other characters'],
  [ok('nonsense'), 'a field without a colon'],
  [ok('nonsense', 'X-A: b'), 'a field without a colon'],
  [ok('Content-Length: 2', 'Content-Length: 3'), 'two lengths'],
  [ok('Content-Length: 2', 'content-length: 2'), 'two lengths'],
  [ok('Content-Length: 2, 2'), 'a length that is no number'],
  [ok('Content-Length: -2'), 'a length that is no number'],
  [ok('Content-Length: +2'), 'a length that is no number'],
  [ok('Content-Length: 0x2'), 'a length that is no number'],
  [ok('Content-Length: 2 2'), 'a length that is no number'],
  [ok('Content-Length:'), 'a length that is no number'],
  [ok('Content-Length: 9007199254740992'), 'a length that is no number'],
  [ok('Content-Length: 99999999999999999999'), 'a length that is no number'],
  [ok('Content-Length: 2', 'Transfer-Encoding: chunked'), 'a length and a transfer coding'],
  [ok('Transfer-Encoding: chunked', 'Content-Length: 2'), 'a length and a transfer coding'],
  [ok('Transfer-Encoding: chunked', 'Transfer-Encoding: chunked'), 'two transfer codings'],
  [ok('Transfer-Encoding: gzip, chunked'), 'a transfer coding that is not chunked'],
  [ok('Transfer-Encoding: gzip'), 'a transfer coding that is not chunked'],
  [ok('Transfer-Encoding: identity'), 'a transfer coding that is not chunked'],
  [ok('Transfer-Encoding: chunked;a=b'), 'a transfer coding that is not chunked'],
  [ok('Transfer-Encoding: \x0bchunked'), 'a field value with control characters'],
  ['HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n', 'a transfer coding in HTTP/1.0'],
  ...[
    'xyz',
    '',
    ' 5',
    '5 ',
    '0x5',
    '-5',
    '+5',
    '5 a',
    '5;\0',
    '1'.repeat(14),
    `0${'1'.repeat(14)}`,
    '000x',
    '00 5',
  ].map(
    (size) =>
      [
        `${ok('Transfer-Encoding: chunked')}${size}\r\nhello\r\n0\r\n\r\n`,
        'a chunk size that is no number',
      ] as const,
  ),
  [`${ok('Transfer-Encoding: chunked')}5\nhello\r\n0\r\n\r\n`, 'a line end without CR'],
  [`${ok('Transfer-Encoding: chunked')}5\r\nhello\n0\r\n\r\n`, 'a line end without CR'],
  [`${ok('Transfer-Encoding: chunked')}4\r\nhello\r\n0\r\n\r\n`, 'a line that is too long'],
  [`${ok('Transfer-Encoding: chunked')}5\r\nhello0\r\n\r\n`, 'a line that is too long'],
  [
    `${ok('Transfer-Encoding: chunked')}5;${'a'.repeat(1100)}\r\nhello\r\n0\r\n\r\n`,
    'a line that is too long',
  ],
  [
    `${ok('Transfer-Encoding: chunked')}${'0'.repeat(1100)}5\r\nhello\r\n0\r\n\r\n`,
    'a line that is too long',
  ],
  [`${ok('Transfer-Encoding: chunked')}0\r\nX-A : b\r\n\r\n`, 'a field name with other characters'],
  [`${ok('Transfer-Encoding: chunked')}0\r\nX-A: b\n\r\n`, 'a line end without CR'],
  [
    `${ok('Transfer-Encoding: chunked')}0\r\n${'X-A: aaaaaaaaaaaaaaaaaaaaaa\r\n'.repeat(3000)}\r\n`,
    'a line that is too long',
  ],
]

t.test('an ambiguous response is refused, however it is cut', async (t) => {
  for (const [answer, problem] of BAD) {
    const shown = JSON.stringify(answer.slice(0, 70))
    t.equal(whole(answer).problem, problem, shown)
    if (answer.length > 1000) continue
    for (const pieces of cuts(answer)) {
      const { problem: found } = read(pieces)
      if (found === undefined) t.fail(`accepted ${shown} as ${pieces.map(String).join(' | ')}`)
    }
  }
})

t.test('a head has at most 64 KiB, however it is cut', async (t) => {
  const endless = ['HTTP/1.1 200 ', 'HTTP/1.1 200 OK\r\nX-A: ', 'HTTP/1.1 200 OK\r\nX-A: a\r\n']
  for (const beginning of endless) {
    const filler = beginning.endsWith('\n') ? 'X-A: aaaaaaaa\r\n' : 'a'.repeat(15)
    const pieces = [beginning, ...Array.from({ length: 5000 }, () => filler)].map(latin1)
    t.match(read(pieces, { closes: false }), {
      problem: 'a head that is too long',
      status: undefined,
    })
    t.match(whole(pieces.join(''), { closes: false }), { problem: 'a head that is too long' })
  }
  const tail = latin1(`${'a'.repeat(60_000)}\r\n\r\n`)
  t.match(read([latin1(`HTTP/1.1 200 OK\r\nX-A: ${'a'.repeat(60_000)}`), tail]), {
    problem: 'a head that is too long',
    status: undefined,
  })
  const value = 'a'.repeat(MAX_HEAD_BYTES - 100)
  const long = `HTTP/1.1 200 OK\r\nX-A: ${value}\r\nContent-Length: 2\r\n\r\nhi`
  t.match(whole(long), { fields: ['X-A', value, 'Content-Length', '2'], body: 'hi' })
})

t.test('the line of a chunk has at most 1 KiB, however it is cut', async (t) => {
  const pieces = [
    ok('Transfer-Encoding: chunked'),
    '5;',
    ...Array.from({ length: 1100 }, () => 'a'),
  ]
  t.equal(read(pieces.map(latin1), { closes: false }).problem, 'a line that is too long')
})

t.test('each response has the whole of every limit', async (t) => {
  let ends = 0
  const reader = new AnswerReader({
    onInformational() {},
    onHead() {},
    onBody() {},
    onEnd: () => ends++,
  })
  const informational = INFORMATIONAL.repeat(MAX_INFORMATIONAL_BYTES / 32)
  const trailers = 'X-A: aaaaaaaaaaaaaaaaaaaaaa\r\n'.repeat(2000)
  const answer = `${informational}${ok('Transfer-Encoding: chunked')}0\r\n${trailers}\r\n`
  for (let i = 1; i <= 3; i++) {
    reader.expect(false)
    reader.read(latin1(answer))
    t.equal(ends, i)
  }
})

t.test('no response takes more than linear time', async (t) => {
  const long = 30_000
  const hard = [
    ok(`X-A: ${'\t '.repeat(long)}b`),
    ok(...Array.from({ length: 10_000 }, () => 'A:')),
    `HTTP/1.1 200 ${' '.repeat(long)}\x01\r\n\r\n`,
    ok(`Connection: ${', '.repeat(long)}`),
    `${ok('Transfer-Encoding: chunked')}${'1\r\na\r\n'.repeat(long)}0\r\n\r\n`,
    `${ok('Transfer-Encoding: chunked')}${`${'0'.repeat(1000)}1\r\na\r\n`.repeat(60)}0\r\n\r\n`,
    `${ok('Transfer-Encoding: chunked')}${'0'.repeat(1000)}x\r\n`,
  ]
  for (const answer of hard)
    t.ok(cpuMs(() => whole(answer)) < LINEAR_MS, JSON.stringify(answer.slice(0, 60)))
})

/** The reading of the same bytes by Node's own client; undefined when it refuses them. */
async function readByNode(answer: string, isHead: boolean): Promise<Reading | undefined> {
  const { promise, resolve } = Promise.withResolvers<Reading | undefined>()
  const socket = new Duplex({ read() {}, write: (_chunk, _encoding, done) => done() })
  const asked = request({ createConnection: () => socket, method: isHead ? 'HEAD' : 'GET' })
  asked.on('error', () => resolve(undefined))
  asked.on('response', (response) => {
    const { statusCode = 0, rawHeaders } = response
    let body = ''
    response.setEncoding('latin1')
    response.on('data', (text: string) => (body += text))
    response.on('error', () => resolve(undefined))
    response.on('end', () => resolve({ status: statusCode, fields: rawHeaders, body }))
  })
  asked.end()
  setImmediate(() => {
    socket.push(latin1(answer))
    socket.push(null)
  })
  const reading = await promise
  socket.destroy()
  return reading
}

t.test('Node’s own parser reads every accepted response in the same way', async (t) => {
  const oneOf = (...texts: string[]) => fc.constantFrom(...texts)
  const field = oneOf(
    'Content-Length: 5',
    'Content-Length: 0',
    'Content-Length: 12',
    'Content-Length: 5, 5',
    'Transfer-Encoding: chunked',
    'Transfer-Encoding: gzip, chunked',
    'Connection: close',
    'Connection: keep-alive',
    'X-A: b',
    'X-A:b',
    'X-A:\t b \t',
    'X-B: \xff',
    'X A: b',
    'X-A : b',
    ' folded',
    'Set-Cookie: a=b',
  )
  const lineEnd = fc.oneof(
    { weight: 12, arbitrary: fc.constant('\r\n') },
    oneOf('\n', '\r', '\r\r\n', ''),
  )
  const line = fc.tuple(field, lineEnd).map((parts) => parts.join(''))
  const aStatusLine = fc.oneof(
    { weight: 6, arbitrary: fc.constant('HTTP/1.1 200 OK\r\n') },
    oneOf(
      'HTTP/1.0 200 OK\r\n',
      'HTTP/1.1 204 No Content\r\n',
      'HTTP/1.1 304 N\r\n',
      'HTTP/1.1 404\r\n',
      'HTTP/1.1 200\n',
      'HTTP/1.2 200 OK\r\n',
      'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n',
      'HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\n\r\nHTTP/1.1 200 OK\r\n',
    ),
  )
  const aBody = oneOf(
    '',
    'hello',
    'hello, world',
    '5\r\nhello\r\n0\r\n\r\n',
    '5\r\nhello\r\n7;a=b\r\n, world\r\n0\r\nX: y\r\n\r\n',
    '5\nhello\r\n0\r\n\r\n',
    '0000000000000000005\r\nhello\r\n00000000000000000000\r\n\r\n',
    '05 \r\nhello\r\n0\r\n\r\n',
    '5\r\nhelloX\r\n0\r\n\r\n',
    '0\r\n\r\n',
    '0\r\n\n',
  )
  const anAnswer = fc
    .tuple(aStatusLine, fc.array(line, { maxLength: 4 }), lineEnd, aBody)
    .map(([start, lines, end, rest]) => start + lines.join('') + end + rest)
  let accepted = 0
  await fc.assert(
    fc.asyncProperty(anAnswer, fc.boolean(), fc.nat(), async (answer, isHead, cut) => {
      const at = cut % (answer.length + 1)
      const pieces = [answer.slice(0, at), answer.slice(at)].map(latin1)
      const ours = read(pieces, { isHead })
      if ((ours.problem === undefined) !== (whole(answer, { isHead }).problem === undefined))
        throw new Error(`${JSON.stringify(answer)} depends on the cut at ${at}`)
      if (ours.problem !== undefined) return
      accepted++
      const nodes = await readByNode(answer, isHead)
      const seen = { status: ours.status, fields: ours.fields, body: ours.body }
      if (JSON.stringify(seen) !== JSON.stringify(nodes))
        throw new Error(
          `${JSON.stringify(answer)}: ${JSON.stringify(seen)}, Node: ${JSON.stringify(nodes)}`,
        )
    }),
    { numRuns: 3000 },
  )
  t.ok(accepted > 300, `${accepted} of 3000 were accepted`)
})

t.test('arbitrary bytes end in a response or a refusal', async (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.boolean(), (bytes, isHead) => {
      for (const beginning of ['', 'HTTP/1.1 200 OK\r\n', ok('Transfer-Encoding: chunked')])
        read([latin1(beginning), Buffer.from(bytes)], { isHead })
    }),
    { numRuns: 2000 },
  )
  t.pass()
})
