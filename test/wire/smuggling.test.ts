/** Can a request be hidden inside another one, so that a service gets a request that the gateway did not check? */
import { createServer, type IncomingMessage } from 'node:http'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import { startBefore } from '../helpers/gateway.ts'
import { startRawUpstream } from '../helpers/upstream.ts'
import { watchForCrashes } from '../helpers/waiting.ts'
import { exchange, send } from '../helpers/wire.ts'

const HIDDEN = 'GET /hidden HTTP/1.1\r\nHost: houston.hubify.com\r\nX: '
const crashes = watchForCrashes()

/** Header lines, then the bytes after the empty line. The lines with the token and the host are added in front. */
const CHUNKED_THEN_HIDDEN = `0\r\n\r\n${HIDDEN}`
const CODINGS = [
  'Transfer-Encoding: xchunked',
  'Transfer-Encoding: chunked\r\nTransfer-Encoding: identity',
  'Transfer-Encoding: identity\r\nTransfer-Encoding: chunked',
  'Transfer-Encoding: identity, chunked',
  'Transfer-Encoding: gzip, chunked',
  'Transfer-Encoding: chunked, identity',
  'Transfer-Encoding: chunked, chunked',
  'Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked',
  'Transfer-Encoding: "chunked"',
  'Transfer-Encoding: chunked;x=1',
  'Transfer-Encoding: chun\\ked',
  'Transfer-Encoding: chunked\x0b',
  'Transfer-Encoding:\x0bchunked',
  'Transfer-Encoding: \x00chunked',
  'Transfer-Encoding: chunked\x00',
  'Transfer-Encoding : chunked',
  'Transfer-Encoding\t: chunked',
  ' Transfer-Encoding: chunked',
  'X: y\r\n Transfer-Encoding: chunked',
  'Transfer-Encoding:\r\n chunked',
  'Transfer-Encoding:\n chunked',
  'X: y\nTransfer-Encoding: chunked',
  'X: y\rTransfer-Encoding: chunked',
  'X: y\r\rTransfer-Encoding: chunked',
  'Transfer_Encoding: chunked',
  'Transfer-Encoding: \xffchunked',
  'Transfer-Encoding: ch\u0075nked\x7f',
  'Transfer-Encoding:',
  'Transfer-Encoding: ,chunked',
  'Transfer-Encoding: chunked,',
  'Transfer-Encoding: cow',
]
const LENGTHS = [
  'Content-Length: 4\r\nContent-Length: 60',
  'Content-Length: 60\r\nContent-Length: 4',
  'Content-Length: 4, 60',
  'Content-Length: 4,4',
  'Content-Length: 4\r\nContent-Length: 4',
  'Content-Length: -4',
  'Content-Length: +4',
  'Content-Length: 0x4',
  'Content-Length: 4 0',
  'Content-Length: 4\x0b',
  'Content-Length: 4\x00',
  'Content-Length : 4',
  'Content-Length\t: 4',
  'Content-Length: 4;',
  'Content-Length: "4"',
  'Content-Length: 4.0',
  'Content-Length: 4e0',
  'Content-Length: ٤',
  'Content-Length: 18446744073709551620',
  'Content-Length: 99999999999999999999999999999999',
  'Content-Length:',
  'Content-Length: ,4',
  'Content-Length: 4\r\n 0',
  'Content-Length:\r\n 4',
  ' Content-Length: 4',
  'X: y\nContent-Length: 4',
  'X: y\rContent-Length: 4',
]
const CHUNKS = [
  `0;\r\n\r\n${HIDDEN}`,
  `4\nabcd\n0\n\n${HIDDEN}`,
  `4\r\nabcd0\r\n\r\n${HIDDEN}`,
  `4\r\nabcdef\r\n0\r\n\r\n${HIDDEN}`,
  `0x4\r\nabcd\r\n0\r\n\r\n`,
  `+4\r\nabcd\r\n0\r\n\r\n`,
  `-4\r\nabcd\r\n0\r\n\r\n`,
  ` 4\r\nabcd\r\n0\r\n\r\n`,
  `4 \r\nabcd\r\n0\r\n\r\n`,
  `4\t\r\nabcd\r\n0\r\n\r\n`,
  `4;a=b\nc\r\nabcd\r\n0\r\n\r\n${HIDDEN}`,
  `4;\r\rabcd\r\n0\r\n\r\n`,
  `4\rX\nabcd\r\n0\r\n\r\n`,
  `g\r\nabcd\r\n0\r\n\r\n`,
  `\r\n4\r\nabcd\r\n0\r\n\r\n`,
  `ffffffffffffffff\r\nabcd\r\n0\r\n\r\n`,
  `10000000000000004\r\nabcd\r\n0\r\n\r\n${HIDDEN}`,
  `0\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\nhello`,
  `0\r\n${HIDDEN}\r\n\r\n`,
  `4;${'x'.repeat(40_000)}\r\nabcd\r\n0\r\n\r\n`,
  `0\r\n${'X: aaaaaaaaaaaaaaaaaaaaaaa\r\n'.repeat(3000)}\r\n`,
]

interface Case {
  name: string
  head: string
  body: string
}

const CASES: Case[] = [
  ...CODINGS.map((coding) => ({ name: coding, head: coding, body: CHUNKED_THEN_HIDDEN })),
  ...CODINGS.map((coding) => ({
    name: `length and ${coding}`,
    head: `Content-Length: ${CHUNKED_THEN_HIDDEN.length}\r\n${coding}`,
    body: CHUNKED_THEN_HIDDEN,
  })),
  ...CODINGS.map((coding) => ({
    name: `${coding} and length`,
    head: `${coding}\r\nContent-Length: 4`,
    body: `2c\r\n${HIDDEN}\r\n0\r\n\r\n`,
  })),
  ...LENGTHS.map((length) => ({ name: length, head: length, body: `abcd${HIDDEN}` })),
  ...CHUNKS.map((body) => ({
    name: `chunks ${body.slice(0, 40)}`,
    head: 'Transfer-Encoding: chunked',
    body,
  })),
]

const OTHERS: ReadonlyArray<readonly [string, string]> = [
  [
    'a bare LF for a line end',
    'POST / HTTP/1.1\nHost: houston.hubify.com\nAUTH\nContent-Length: 4\n\nabcdGET /hidden HTTP/1.1\r\nHost: a\r\n\r\n',
  ],
  [
    'a bare LF in the head',
    'GET / HTTP/1.1\r\nHost: houston.hubify.com\r\nAUTH\r\nX: y\n\nGET /hidden HTTP/1.1\r\nHost: a\r\n\r\n',
  ],
  ['a bare CR for a line end', 'GET / HTTP/1.1\rHost: houston.hubify.com\rAUTH\r\r'],
  [
    'a space in the target',
    'GET / HTTP/1.1 GET /hidden HTTP/1.1\r\nHost: houston.hubify.com\r\nAUTH\r\n\r\n',
  ],
  [
    'a line end in the target',
    'GET /\r\n/hidden HTTP/1.1\r\nHost: houston.hubify.com\r\nAUTH\r\n\r\n',
  ],
  [
    'an encoded line end in the target',
    'GET /%0d%0aGET%20/hidden HTTP/1.1\r\nHost: houston.hubify.com\r\nAUTH\r\n\r\n',
  ],
  [
    'a chunked body of HTTP/1.0',
    `POST / HTTP/1.0\r\nHost: houston.hubify.com\r\nAUTH\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n${CHUNKED_THEN_HIDDEN}`,
  ],
  ['a version of HTTP/1.2', 'GET /hidden HTTP/1.2\r\nHost: houston.hubify.com\r\nAUTH\r\n\r\n'],
  ['no version', 'GET /hidden\r\nHost: houston.hubify.com\r\nAUTH\r\n\r\n'],
  ['two hosts', 'GET /hidden HTTP/1.1\r\nHost: houston.hubify.com\r\nHost: a\r\nAUTH\r\n\r\n'],
  [
    'a nominated length',
    `POST / HTTP/1.1\r\nHost: houston.hubify.com\r\nAUTH\r\nConnection: Content-Length\r\nContent-Length: 44\r\n\r\n${HIDDEN.slice(0, 44)}`,
  ],
  [
    'a nominated coding',
    'POST / HTTP/1.1\r\nHost: houston.hubify.com\r\nAUTH\r\nConnection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n\r\n2c\r\nGET /hidden HTTP/1.1\r\nHost: houston.hubify.co\r\n0\r\n\r\n',
  ],
]

/** A service with a very lenient parser: it reads as requests what the worst service would. */
async function startLenient(t: Test, lenient: boolean) {
  const urls: string[] = []
  const server = createServer(
    { insecureHTTPParser: lenient },
    (request: IncomingMessage, response) => {
      urls.push(request.url ?? '')
      request.resume()
      request.on('error', () => {})
      request.on('end', () => response.end('ok'))
    },
  )
  server.on('clientError', (_error, socket) => socket.destroy())
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(async () => {
    server.closeAllConnections()
    server.close()
    await once(server, 'close')
  })
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, urls }
}

for (const lenient of [false, true]) {
  t.test(
    `nothing hidden in a request reaches a ${lenient ? 'lenient' : 'strict'} service`,
    async (t) => {
      const service = await startLenient(t, lenient)
      const { port, auth, settled } = await startBefore(t, service)
      const requests: Array<readonly [string, string]> = [
        ...CASES.map(
          ({ name, head, body }) =>
            [
              name,
              `POST / HTTP/1.1\r\nHost: houston.hubify.com\r\n${auth}\r\n${head}\r\n\r\n${body}`,
            ] as const,
        ),
        ...OTHERS.map(([name, bytes]) => [name, bytes.replace('AUTH', auth)] as const),
      ]
      for (let at = 0; at < requests.length; at += 10) {
        await Promise.all(
          requests.slice(at, at + 10).map(async ([name, bytes]) => {
            const text = await exchange(port, bytes, 600)
            const answers = [...text.matchAll(/HTTP\/1\.1 (\d{3})/g)].map(([, status]) =>
              Number(status),
            )
            t.ok(
              answers.every(
                (status) => status === 200 || (status >= 400 && status < 600 && status !== 500),
              ),
              `${JSON.stringify(name)}: ${answers.join(' ')}`,
            )
            if (/^\S*(transfer-encoding|content-length).*/i.test(name) && answers[0] === 200)
              t.comment(`200: ${JSON.stringify(name)}`)
          }),
        )
      }
      t.notOk(
        service.urls.some((url) => url.includes('hidden') && !url.includes('%20')),
        'nothing hidden was seen',
      )
      t.equal(
        new Set(service.urls.filter((url) => url !== '/')).size <= 1,
        true,
        JSON.stringify([...new Set(service.urls)]),
      )
      const before = service.urls.length
      t.equal((await send(port, 'GET /afterwards', [auth])).status, 200)
      t.equal(service.urls.length, before + 1)
      t.equal(service.urls.at(-1), '/afterwards')
      await settled()
      t.same(crashes, [])
    },
  )
}

t.test(
  'a forwarded request has new framing: one length or one coding, and nothing after the body',
  async (t) => {
    let seen = ''
    const service = await startRawUpstream(t, (socket) => {
      socket.setEncoding('latin1')
      socket.on('data', (chunk: string) => {
        seen += chunk
        if (/\r\n\r\nabcd$|0\r\n\r\n$/.test(seen))
          socket.end('HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n')
      })
    })
    const { port, auth } = await startBefore(t, service)
    for (const [head, body] of [
      ['Content-Length: 4', 'abcd'],
      ['content-length: 0004', 'abcd'],
      ['Transfer-Encoding: chunked', '4;ext="a;b"\r\nabcd\r\n0\r\nX-Trailer: y\r\n\r\n'],
      ['transfer-encoding: CHUNKED', '00000004\r\nabcd\r\n0\r\n\r\n'],
    ] as const) {
      seen = ''
      await send(port, 'POST /framed', [auth, head], body)
      const [fields = '', sent = ''] = seen.split('\r\n\r\n', 2)
      t.equal((fields.match(/^(?:content-length|transfer-encoding):/gim) ?? []).length, 1, head)
      t.notMatch(seen, /ext=|trailer/i)
      t.ok(sent === 'abcd' || sent.startsWith('4\r\nabcd\r\n0'), sent)
    }
  },
)
