/** Attack: a request whose body has two lengths, an absolute target, trailers, or a method that repeats the request. */
import t from 'tap'
import { exchange, parseAnswer, requestBytes, send } from '../../helpers/wire.ts'
import { CREDENTIAL } from '../../helpers/vault-entry.ts'
import { LEASE, startVault } from '../../helpers/vault-forwarder.ts'
import { answerText, startByteService } from '../../helpers/vault-service.ts'

const start = async (t: Parameters<typeof startVault>[0]) => {
  const service = await startByteService(t, () => answerText('ok'))
  return { service, ...(await startVault(t, service.origin)) }
}

const REFUSED: Readonly<
  Record<string, readonly [line: string, fields: readonly string[], body: string]>
> = {
  'Transfer-Encoding with Content-Length': [
    'POST /s/github/x',
    ['Transfer-Encoding: chunked', 'Content-Length: 3'],
    '0\r\n\r\n',
  ],
  'two Content-Length': ['POST /s/github/x', ['Content-Length: 3', 'Content-Length: 3'], 'abc'],
  'another Transfer-Encoding': [
    'POST /s/github/x',
    ['Transfer-Encoding: gzip, chunked'],
    '0\r\n\r\n',
  ],
  'an absolute target': ['GET http://evil.test/x', [], ''],
  'a target with an authority': ['GET //evil.test/x', [], ''],
  TRACE: ['TRACE /s/github/x', [], ''],
}
for (const [name, [line, fields, body]] of Object.entries(REFUSED)) {
  t.test(`${name} is refused, and the service is not dialled`, async (t) => {
    const { service, port } = await start(t)
    const { status } = await send(port, line, [LEASE, ...fields], body)
    t.ok(status === 400 || status === 403, `${status}`)
    t.equal(service.dials(), 0)
  })
}

t.test('the trailers of a request and of an answer are dropped', async (t) => {
  const service = await startByteService(
    t,
    () =>
      `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Key\r\nConnection: close\r\n\r\n2\r\nok\r\n0\r\nX-Key: ${CREDENTIAL}\r\n\r\n`,
  )
  const { port } = await startVault(t, service.origin)
  const bytes = requestBytes(
    'POST /s/github/x',
    [LEASE, 'Transfer-Encoding: chunked', 'Trailer: X-HTTP-Method-Override', 'Connection: close'],
    '1\r\na\r\n0\r\nX-HTTP-Method-Override: DELETE\r\n\r\n',
  )
  const { raw, body } = parseAnswer(await exchange(port, bytes))
  t.equal(body, '2\r\nok\r\n0\r\n\r\n')
  t.notMatch(raw, /X-Key/i)
  t.notMatch(service.received(), /Override/i)
})

t.test('an informational answer is not forwarded, with what is in it', async (t) => {
  const service = await startByteService(
    t,
    () => `HTTP/1.1 103 Early Hints\r\nLink: <${CREDENTIAL}>\r\n\r\n${answerText('ok')}`,
  )
  const { port } = await startVault(t, service.origin)
  const { status, raw } = await send(port, 'GET /s/github/x', [LEASE])
  t.equal(status, 200)
  t.notMatch(raw, /Link/)
})

t.test('an answer with two lengths is refused', async (t) => {
  const service = await startByteService(
    t,
    () => 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
  )
  const { port } = await startVault(t, service.origin)
  t.equal(
    (await send(port, 'GET /s/github/x', [LEASE])).headers['x-vault-error'],
    'answer-malformed',
  )
})
