/** Which requests are refused by their headers, also when no parser has refused them before? */
import t from 'tap'
import { mayBeForwarded, requestHeaders } from '../../../src/vault/forward/request-headers.ts'
import type { VaultError } from '../../../src/vault/vault-errors.ts'
import { CREDENTIAL, entryOf } from '../../helpers/vault-entry.ts'

const build = (raw: readonly string[], isUpgrade = false, value = CREDENTIAL) =>
  requestHeaders(
    entryOf({ origin: 'https://api.test:8443' }).policy,
    raw,
    Buffer.from(value),
    isUpgrade,
  )

const codeOfRefusal = (act: () => unknown): string | undefined => {
  try {
    act()
    return undefined
  } catch (error) {
    return (error as VaultError).code
  }
}

t.test('a body whose length is not stated in one way is refused', async (t) => {
  for (const raw of [
    ['Content-Length', '3', 'Transfer-Encoding', 'chunked'],
    ['Content-Length', '3', 'Content-Length', '3'],
    ['Content-Length', '+3'],
    ['Content-Length', '3, 3'],
    ['Transfer-Encoding', 'gzip'],
    ['Transfer-Encoding', 'chunked, chunked'],
  ])
    t.equal(
      codeOfRefusal(() => build(raw)),
      'bad-request',
      raw.join(),
    )
})

t.test('a gateway’s own fields are never forwarded, whatever an entry says', async (t) => {
  for (const name of ['X-Workspace-Token', 'X-Workspace-Token-Name', 'X_Workspace_Token'])
    t.notOk(mayBeForwarded(name), name)
})

t.test('a handshake has no body and no extension', async (t) => {
  const handshake = [
    'Upgrade',
    'websocket',
    'Sec-WebSocket-Key',
    'x',
    'Sec-WebSocket-Extensions',
    'y',
  ]
  const headers = build(handshake, true)
  t.equal(headers['sec-websocket-key'], 'x')
  t.equal(headers['sec-websocket-extensions'], undefined)
  t.equal(
    codeOfRefusal(() => build([...handshake, 'Content-Length', '1'], true)),
    'bad-request',
  )
  t.equal(
    codeOfRefusal(() => build(['Upgrade', 'websocket, h2c'], true)),
    'upgrade-not-allowed',
  )
})

t.test('the host is that of the entry, and the slot is filled', async (t) => {
  t.same(build(['Host', 'evil.test', 'Connection', 'host, authorization']), {
    host: 'api.test:8443',
    'accept-encoding': 'identity',
    authorization: `Bearer ${CREDENTIAL}`,
  })
})

t.test('a credential that would begin a header of its own is refused', async (t) => {
  t.equal(
    codeOfRefusal(() => build([], false, 'abcdefgh\r\nX-Evil: 1')),
    'service-unreachable',
  )
})

t.test('the owner can allow headers, and not those that change the target', async (t) => {
  for (const name of ['x-own', 'accept-charset', 'Notion-Version']) t.ok(mayBeForwarded(name), name)
  for (const name of [
    'Host',
    'cookie',
    'X_Forwarded_Host',
    'X-HTTP-Method-Override',
    'proxy-x',
    'Range',
    'te',
    'upgrade',
  ])
    t.notOk(mayBeForwarded(name), name)
})
