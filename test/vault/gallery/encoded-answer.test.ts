/** Attack: the service hides the credential in an encoded answer. */
import { brotliCompressSync, deflateSync, gzipSync, zstdCompressSync } from 'node:zlib'
import type { Test } from 'tap'
import { dechunk } from '../../helpers/wire.ts'
import { CREDENTIAL } from '../../helpers/vault-entry.ts'
import { bodyOf, isStolen, refusalOf, runAgainstVault, type VaultPlace } from './attack.ts'
import { sentField, startByteService } from '../../helpers/vault-service.ts'

const encoded = (coding: string, body: Buffer) =>
  Buffer.concat([
    Buffer.from(
      `HTTP/1.1 200 OK\r\nContent-Encoding: ${coding}\r\nContent-Length: ${body.length}\r\nConnection: close\r\n\r\n`,
    ),
    body,
  ])

const REFUSED = '502 answer-encoded'

/** An answer that is encoded so, once refused and once decoded. */
const hidden =
  (coding: string, encode: (body: Buffer) => Buffer) =>
  async (t: Test, { aim }: VaultPlace) => {
    const service = await startByteService(t, () =>
      encoded(coding, encode(Buffer.from(`<${CREDENTIAL}>`))),
    )
    const refusing = await aim(service.origin)
    const refused = await refusing.send('GET /x', ['Accept-Encoding: gzip, br'])
    t.equal(refusalOf(refused), REFUSED)
    t.equal(sentField(service.received(), 'accept-encoding'), 'identity', 'was asked for')
    t.same(await refusing.endings(), ['answer-encoded'])
    const decoding = await aim(service.origin, { decode: true })
    const answer = await decoding.send('GET /x')
    t.equal(answer.headers['content-encoding'], undefined)
    t.equal(bodyOf(answer), `<${'*'.repeat(CREDENTIAL.length)}>`)
    return isStolen(bodyOf(answer))
  }

/** An answer of few bytes that become very many. */
const bomb =
  (coding: string, encode: (body: Buffer) => Buffer) =>
  async (t: Test, { aim }: VaultPlace) => {
    const bytes = encode(Buffer.alloc(64 * 1024 * 1024))
    const service = await startByteService(t, () => encoded(coding, bytes))
    const { send, endings } = await aim(service.origin, { decode: true })
    const { body } = await send('GET /x')
    t.same(await endings(), ['failed'])
    return dechunk(body) !== undefined // whole
  }

await runAgainstVault(import.meta.url, {
  gzip: hidden('gzip', gzipSync),
  deflate: hidden('deflate', deflateSync),
  br: hidden('br', brotliCompressSync),
  zstd: hidden('zstd', zstdCompressSync),
  'gzip behind identity': hidden('identity, gzip', gzipSync),
  'a bomb of gzip': bomb('gzip', gzipSync),
  'a bomb of deflate': bomb('deflate', deflateSync),
  'a bomb of br': bomb('br', brotliCompressSync),
  'a bomb of zstd': bomb('zstd', zstdCompressSync),
  'codings that cannot be decoded': async (t, { aim }) => {
    let fields = ''
    const service = await startByteService(
      t,
      () => `HTTP/1.1 200 OK\r\n${fields}\r\nConnection: close\r\n\r\n0\r\n\r\n`,
    )
    const { send } = await aim(service.origin, { decode: true })
    const refusals: string[] = []
    for (fields of [
      'Content-Encoding: gzip, br',
      'Content-Encoding: gzip\r\nContent-Encoding: gzip',
      'Content-Encoding: compress',
      'Content-Encoding: aws-chunked',
      'Transfer-Encoding: gzip, chunked',
    ])
      refusals.push(refusalOf(await send('GET /x')))
    t.same([...new Set(refusals)], [REFUSED])
    return refusals.some((refusal) => refusal !== REFUSED)
  },
  'an encoded answer that ends early': async (t, { aim }) => {
    const whole = gzipSync('x'.repeat(50_000))
    const service = await startByteService(t, () => encoded('gzip', whole.subarray(0, -9)))
    const { body } = await (await aim(service.origin, { decode: true })).send('GET /x')
    return dechunk(body) !== undefined
  },
  'a coding behind thousands of other fields': async (t, { aim }) => {
    const service = await startByteService(t, () =>
      Buffer.from(
        encoded('gzip', gzipSync(CREDENTIAL))
          .toString('latin1')
          .replace('\r\n', `\r\n${'a: b\r\n'.repeat(5000)}`),
        'latin1',
      ),
    )
    return refusalOf(await (await aim(service.origin)).send('GET /x')) !== REFUSED
  },
})
