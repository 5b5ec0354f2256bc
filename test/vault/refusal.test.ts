/** Does every refusal of the vault look the same, as an answer and on a connection that has no request? */
import { createServer } from 'node:http'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import t from 'tap'
import { refuse, refuseOnSocket } from '../../src/vault/refusal.ts'
import { VaultError } from '../../src/vault/vault-errors.ts'
import { send } from '../helpers/wire.ts'

t.test('an answer and the end of a connection have the same fields', async (t) => {
  const error = new VaultError('lease-missing', 'send a lease')
  const server = createServer(({ url, socket }, response) => {
    if (url === '/answer') refuse(response, error)
    else refuseOnSocket(socket, error)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  const { port } = server.address() as AddressInfo
  const answers = []
  for (const path of ['/answer', '/connection']) {
    const { status, headers, body } = await send(port, `GET ${path}`, ['Host: x'])
    const { date: _date, connection, ...fields } = headers
    t.equal(connection, 'close')
    t.equal(JSON.parse(body).detail, 'send a lease')
    answers.push({ status, fields, body })
  }
  t.same(answers[0], answers[1])
  t.match(answers[0]?.fields, {
    'x-vault-error': 'lease-missing',
    'www-authenticate': 'Basic realm="vault"',
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
  })
})
