/** Attack: the service hides the credential in an encoded answer. */
import { brotliCompressSync, deflateSync, gzipSync, zstdCompressSync } from 'node:zlib'
import t from 'tap'
import { dechunk, send } from '../../helpers/wire.ts'
import { CREDENTIAL } from '../../helpers/vault-entry.ts'
import { LEASE, startVault } from '../../helpers/vault-forwarder.ts'
import { sentField, startByteService } from '../../helpers/vault-service.ts'

const CODINGS = {
  gzip: gzipSync,
  deflate: deflateSync,
  br: brotliCompressSync,
  zstd: zstdCompressSync,
}

const encoded = (coding: string, body: Buffer) =>
  Buffer.concat([
    Buffer.from(
      `HTTP/1.1 200 OK\r\nContent-Encoding: ${coding}\r\nContent-Length: ${body.length}\r\nConnection: close\r\n\r\n`,
    ),
    body,
  ])

for (const [coding, encode] of Object.entries(CODINGS)) {
  t.test(`an answer in ${coding} is refused, and decoded when the entry says so`, async (t) => {
    const service = await startByteService(t, () =>
      encoded(coding, encode(Buffer.from(`<${CREDENTIAL}>`))),
    )
    const vault = await startVault(t, service.origin)
    const refused = await send(vault.port, 'GET /s/github/x', [LEASE, 'Accept-Encoding: gzip, br'])
    t.equal(refused.status, 502)
    t.equal(refused.headers['x-vault-error'], 'answer-encoded')
    t.equal(sentField(service.received(), 'accept-encoding'), 'identity', 'was asked for')
    t.same(vault.endings(), ['answer-encoded'])

    const { port } = await startVault(t, service.origin, { policy: { decode: true } })
    const { body, headers } = await send(port, 'GET /s/github/x', [LEASE])
    t.equal(dechunk(body), `<${'*'.repeat(CREDENTIAL.length)}>`)
    t.equal(headers['content-encoding'], undefined)
  })

  t.test(`an answer in ${coding} that becomes far too long is broken off`, async (t) => {
    const bomb = encode(Buffer.alloc(64 * 1024 * 1024))
    const service = await startByteService(t, () => encoded(coding, bomb))
    const vault = await startVault(t, service.origin, { policy: { decode: true } })
    const { body } = await send(vault.port, 'GET /s/github/x', [LEASE])
    t.equal(dechunk(body), undefined, 'not whole')
    t.same(vault.endings(), ['failed'])
  })
}

for (const fields of [
  'Content-Encoding: gzip, br',
  'Content-Encoding: compress',
  'Transfer-Encoding: gzip, chunked',
]) {
  t.test(`what cannot be decoded is refused also with decode: ${fields}`, async (t) => {
    const service = await startByteService(
      t,
      () => `HTTP/1.1 200 OK\r\n${fields}\r\nConnection: close\r\n\r\n0\r\n\r\n`,
    )
    const { port } = await startVault(t, service.origin, { policy: { decode: true } })
    t.equal(
      (await send(port, 'GET /s/github/x', [LEASE])).headers['x-vault-error'],
      'answer-encoded',
    )
  })
}

t.test('an encoded answer that ends early is broken off, not ended', async (t) => {
  const whole = gzipSync('x'.repeat(50_000))
  const service = await startByteService(t, () => encoded('gzip', whole.subarray(0, -9)))
  const { port } = await startVault(t, service.origin, { policy: { decode: true } })
  t.equal(dechunk((await send(port, 'GET /s/github/x', [LEASE])).body), undefined)
})

t.test('an encoded answer that says so behind thousands of other fields is refused', async (t) => {
  const service = await startByteService(t, () =>
    encoded('gzip', gzipSync(CREDENTIAL))
      .toString('latin1')
      .replace('\r\n', `\r\n${'a: b\r\n'.repeat(5000)}`),
  )
  const vault = await startVault(t, service.origin)
  const { status, headers } = await send(vault.port, 'GET /s/github/x', [LEASE])
  t.same([status, headers['x-vault-error']], [502, 'answer-encoded'])
})
