/** Attack: an agent that speaks HTTP/1.0, in which the end of an answer is only that of the connection. */
import t from 'tap'
import { exchange, gather, open, parseAnswer } from '../../helpers/wire.ts'
import { CREDENTIAL } from '../../helpers/vault-entry.ts'
import { LEASE, startVault } from '../../helpers/vault-forwarder.ts'
import { startUpstream } from '../../helpers/upstream.ts'

t.test('an answer to HTTP/1.0 is scrubbed and not chunked', async (t) => {
  const { url } = await startUpstream(t, (request, response) => {
    response.write('<')
    response.end(`${request.headers.authorization}>`)
  })
  const { port } = await startVault(t, url)
  const { body, headers } = parseAnswer(
    await exchange(port, `GET /s/github/x HTTP/1.0\r\n${LEASE}\r\n\r\n`),
  )
  t.equal(body, `<Bearer ${'*'.repeat(CREDENTIAL.length)}>`)
  t.equal(headers['transfer-encoding'], undefined)
})

t.test(
  'a broken answer to HTTP/1.0 ends with a reset, because a plain end would look like the whole',
  async (t) => {
    const { url } = await startUpstream(t, (_request, response) => {
      response.write('half', () => response.destroy())
    })
    const { port } = await startVault(t, url)
    const socket = await open(port)
    const received = gather(socket)
    socket.write(`GET /s/github/x HTTP/1.0\r\n${LEASE}\r\n\r\n`)
    t.equal((await received.over).how, 'reset')
  },
)
