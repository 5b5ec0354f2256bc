/** Attack: a request hides another one, or is none: two lengths, an absolute target, trailers, a second request behind the first. */
import type { Test } from 'tap'
import { exchange, parseAnswer, requestBytes, send } from '../../helpers/wire.ts'
import { CREDENTIAL } from '../../helpers/vault-entry.ts'
import { bodyOf, isStolen, runAgainstVault, type VaultPlace } from './attack.ts'
import { startUpstream } from '../../helpers/upstream.ts'
import { answerText, startByteService } from '../../helpers/vault-service.ts'

type Request = readonly [line: string, fields: readonly string[], body: string]

/** Requests that are refused at both doors, before anything is dialled. `SERVICE` stands for the entry. */
const refused =
  (...requests: readonly Request[]) =>
  async (t: Test, { aim, port, vault }: VaultPlace) => {
    const service = await startByteService(t, () => answerText('ok'))
    const { service: name, lease } = await aim(service.origin)
    for (const door of [port, vault.coder])
      for (const [line, fields, body] of requests) {
        const target = line.replace('SERVICE', name)
        const host = fields.some((field) => field.startsWith('Host')) ? [] : ['Host: 127.0.0.1']
        const { status, raw } = await send(door, target, [...host, lease, ...fields], body)
        t.ok(status >= 400 && status < 500, `${status} for ${target.slice(0, 80)} ${fields.join()}`)
        t.notMatch(raw.slice(1), /HTTP\/1\.1 200/)
      }
    return service.dials() > 0
  }

const CHUNKED = 'Transfer-Encoding: chunked'
const END = '0\r\n\r\n'
const POST = 'POST /s/SERVICE/x'
const GET = 'GET /s/SERVICE/x'

await runAgainstVault(import.meta.url, {
  'Transfer-Encoding with Content-Length': refused(
    [POST, [CHUNKED, 'Content-Length: 3'], END],
    [POST, ['Content-Length: 3', CHUNKED], END],
  ),
  'two Content-Length': refused(
    [POST, ['Content-Length: 3', 'Content-Length: 3'], 'abc'],
    [POST, ['Content-Length: 3', 'Content-Length: 30'], 'abc'],
    [POST, ['Content-Length: 3, 3'], 'abc'],
    [POST, ['Content-Length: +3'], 'abc'],
  ),
  'another Transfer-Encoding': refused(
    [POST, ['Transfer-Encoding: gzip, chunked'], END],
    [POST, ['Transfer-Encoding: xchunked'], END],
    [POST, ['Transfer-Encoding : chunked'], END],
    [POST, [CHUNKED, CHUNKED], END],
    [POST, ['Transfer-Encoding: chunked, identity'], END],
  ),
  'an absolute target': refused(
    ['GET http://evil.test/s/SERVICE/x', [], ''],
    ['GET http://127.0.0.1/s/SERVICE/x', [], ''],
    ['GET https://evil.test', [], ''],
  ),
  'a target with an authority': refused(
    ['GET //evil.test/x', [], ''],
    ['GET //evil.test/s/SERVICE/x', [], ''],
    ['GET /s/SERVICE//evil.test/x', [], ''],
    ['GET /s/SERVICE@evil.test/x', [], ''],
  ),
  'TRACE and CONNECT': refused(['TRACE /s/SERVICE/x', [], ''], ['TRACK /s/SERVICE/x', [], '']),
  'folded lines, bare CR and LF, and NUL': refused(
    [GET, ['Accept: a\r\n b'], ''],
    [GET, ['Accept: a\rX-A: b'], ''],
    [GET, ['Accept: a\nX-A : b'], ''],
    [GET, ['Accept: a\0b'], ''],
  ),
  'a very long path, and very many headers': refused(
    [`GET /s/SERVICE/${'a'.repeat(20_000)}`, [], ''],
    [GET, Array.from({ length: 120 }, (_, i) => `X-A-${i}: 1`), ''],
    [GET, [`Accept: ${'a'.repeat(20_000)}`], ''],
  ),
  'trailers of a request': async (t, { aim, port }) => {
    const service = await startByteService(t, () => answerText('ok'))
    const { service: name, lease } = await aim(service.origin)
    const bytes = requestBytes(
      `POST /s/${name}/x`,
      [lease, 'Host: 127.0.0.1', CHUNKED, 'Trailer: X-HTTP-Method-Override', 'Connection: close'],
      '1\r\na\r\n0\r\nX-HTTP-Method-Override: DELETE\r\nAuthorization: Bearer a\r\n\r\n',
    )
    t.equal(bodyOf(parseAnswer(await exchange(port, bytes))), 'ok')
    return /Override|Bearer a/i.test(service.received())
  },
  'a second request in the body of the first': async (t, { aim }) => {
    const service = await startUpstream(t)
    const inner = 'DELETE /everything HTTP/1.1\r\nHost: a\r\n\r\n'
    const { sendToBoth } = await aim(service.url)
    await sendToBoth('POST /x', [`Content-Length: ${inner.length}`], inner)
    await sendToBoth('POST /x', [CHUNKED], `${inner.length.toString(16)}\r\n${inner}\r\n${END}`)
    t.same([...new Set(service.requests.map(({ body }) => body))], [inner])
    return service.requests.some(({ method }) => method !== 'POST') || service.requests.length !== 4
  },
  'a second request behind the first, without a lease': async (t, { aim, port }) => {
    const service = await startByteService(t, () => answerText('ok'))
    const { service: name, lease } = await aim(service.origin)
    const first = requestBytes(`GET /s/${name}/1`, ['Host: 127.0.0.1', lease])
    const second = requestBytes(`GET /s/${name}/2`, ['Host: 127.0.0.1', 'Connection: close'])
    const raw = await exchange(port, first + second)
    t.match(raw, /x-vault-error: lease-missing/i)
    return service.received().includes('/2')
  },
  'Upgrade: h2c': async (t, { aim }) => {
    const service = await startByteService(t, () => answerText('ok'))
    const { sendToBoth } = await aim(service.origin)
    const fields = [
      'Connection: close, Upgrade, HTTP2-Settings',
      'Upgrade: h2c',
      'HTTP2-Settings: AAMAAABk',
    ]
    await sendToBoth('GET /x', fields)
    return /^(?:upgrade|http2-settings):/im.test(service.received())
  },
  'Expect: 100-continue for a request that is refused': async (t, { aim }) => {
    const service = await startByteService(t, () => answerText('ok'))
    const { sendToBoth } = await aim(service.origin, { methods: ['GET'] })
    const answers = await sendToBoth('POST /x', ['Expect: 100-continue', 'Content-Length: 3'])
    t.same(
      answers.map(({ status }) => status),
      [403, 403],
    )
    return service.dials() > 0
  },
  'a credential of the agent’s own in the body': async (t, { aim }) => {
    const service = await startByteService(t, (head) => answerText(`${head.length}`))
    const { send: ask, token } = await aim(service.origin)
    await ask('POST /x', ['Content-Length: 36'], CREDENTIAL)
    t.notMatch(service.received(), token)
    return isStolen(service.received().replace(`Bearer ${CREDENTIAL}`, '').replace(CREDENTIAL, ''))
  },
})
