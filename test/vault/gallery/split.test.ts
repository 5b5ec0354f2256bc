/** Attack: the service divides the credential among packets, at any offset. */
import t from 'tap'
import { readByPeer } from '../../helpers/waiting.ts'
import { dechunk, send } from '../../helpers/wire.ts'
import { CREDENTIAL } from '../../helpers/vault-entry.ts'
import { LEASE, startVault } from '../../helpers/vault-forwarder.ts'
import { startUpstream } from '../../helpers/upstream.ts'

t.test('a credential that is divided at any offset is masked', async (t) => {
  const { url } = await startUpstream(t, (request, response) => {
    const at = Number(request.url?.slice(1))
    response.write(`<${CREDENTIAL.slice(0, at)}`)
    // Only when the vault has read the first part, so that it gets two chunks.
    void readByPeer(request.socket).then(() => response.end(`${CREDENTIAL.slice(at)}>`))
  })
  // Long after each other, because three answers with the credential within ten minutes suspend the entry.
  let time = 0
  const { port } = await startVault(t, url, { now: () => (time += 600_000) })
  for (let at = 0; at <= CREDENTIAL.length; at++) {
    const { body } = await send(port, `GET /s/github/${at}`, [LEASE])
    t.equal(dechunk(body), `<${'*'.repeat(CREDENTIAL.length)}>`, `at ${at}`)
  }
})

t.test('an event is passed on at once, also while the stream goes on', async (t) => {
  const { url } = await startUpstream(t, (_request, response) => {
    response.writeHead(200, { 'Content-Type': 'text/event-stream' })
    response.write('data: hello\n\n')
  })
  const { port } = await startVault(t, url)
  const answer = await fetch(`http://127.0.0.1:${port}/s/github/events`)
  const reader = answer.body?.getReader()
  t.equal(Buffer.from((await reader?.read())?.value ?? []).toString(), 'data: hello\n\n')
  await reader?.cancel()
})
