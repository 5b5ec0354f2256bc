/** Attack: a WebSocket, or another protocol, through which the credential is repeated unseen. */
import t from 'tap'
import { eventually } from '../../helpers/waiting.ts'
import { clientFrame, send, serverFrame, upgrade } from '../../helpers/wire.ts'
import { startUpstream, switchingProtocols } from '../../helpers/upstream.ts'
import { CREDENTIAL } from '../../helpers/vault-entry.ts'
import { LEASE, startVault } from '../../helpers/vault-forwarder.ts'
import { answerText, sentField, startByteService } from '../../helpers/vault-service.ts'

t.test(
  'a WebSocket is refused unless the entry allows it, and the service is not dialled',
  async (t) => {
    const service = await startUpstream(t)
    const vault = await startVault(t, service.url)
    const { answer } = await upgrade(vault.port, '/s/github/ws', [LEASE])
    t.same([answer.status, answer.headers['x-vault-error']], [403, 'upgrade-not-allowed'])
    t.equal(service.dials(), 0)
  },
)

t.test('another protocol than WebSocket is refused', async (t) => {
  const service = await startUpstream(t)
  const vault = await startVault(t, service.url, { policy: { upgrade: true } })
  const { answer } = await upgrade(vault.port, '/s/github/ws', [LEASE, 'Upgrade: h2c'])
  t.equal(answer.status, 403)
  t.equal(service.dials(), 0)
})

t.test('a service that switches protocols without being asked is refused', async (t) => {
  const service = await startByteService(
    t,
    () =>
      `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n${CREDENTIAL}`,
  )
  const { port } = await startVault(t, service.origin)
  const { status, raw } = await send(port, 'GET /s/github/x', [LEASE])
  t.equal(status, 502)
  t.notMatch(raw, CREDENTIAL)
})

for (const [what, policy, ask] of [
  ['a request', {}, send],
  [
    'a WebSocket',
    { upgrade: true },
    async (port: number) => (await upgrade(port, '/s/github/ws', [LEASE])).answer,
  ],
] as const)
  t.test(`101 without a protocol is no answer to ${what}`, async (t) => {
    const service = await startByteService(
      t,
      () => `HTTP/1.1 101 Switching Protocols\r\n\r\nHTTP/1.1 200 OK\r\n\r\n${CREDENTIAL}`,
    )
    const vault = await startVault(t, service.origin, { policy })
    const { status, raw } = await ask(vault.port, 'GET /s/github/x', [LEASE])
    t.equal(status, 502)
    t.notMatch(raw, CREDENTIAL)
    t.same(vault.endings(), ['answer-malformed'])
  })

t.test(
  'a WebSocket passes in both directions, without extensions, and what comes back is scrubbed',
  async (t) => {
    const early = clientFrame(1, 'early')
    const service = await startUpstream(t, undefined, (request, socket, head) => {
      socket.write(switchingProtocols(request))
      socket.write(serverFrame(1, `token ${request.headers.authorization}`))
      let got = head
      const answer = () => {
        if (got.equals(early)) socket.write(serverFrame(1, 'got it'))
      }
      socket.on('data', (chunk: Buffer) => {
        got = Buffer.concat([got, chunk])
        answer()
      })
      answer()
    })
    const vault = await startVault(t, service.url, { policy: { upgrade: true } })
    const socket = await upgrade(
      vault.port,
      '/s/github/ws',
      [LEASE, 'Sec-WebSocket-Extensions: permessage-deflate', 'Origin: https://x.test'],
      early,
    )
    t.equal(socket.answer.status, 101)
    const first = serverFrame(1, `token Bearer ${'*'.repeat(CREDENTIAL.length)}`)
    const second = serverFrame(1, 'got it')
    const received = await socket.until(first.length + second.length)
    t.same(received, Buffer.concat([first, second]))
    const [request] = service.requests
    t.equal(request?.headers['sec-websocket-extensions'], undefined)
    t.equal(request?.headers.authorization, `Bearer ${CREDENTIAL}`)
    socket.socket.end()
    await socket.closed
    await eventually(() => vault.endings().length > 0, 'the last row')
    t.same(
      vault.rows.map(({ op, reason }) => reason ?? op),
      ['use', 'reflected', 'done'],
    )
  },
)

t.test('a message that ends as the credential begins does not wait for the next', async (t) => {
  const messages = Array.from({ length: 20 }, (_, i) => CREDENTIAL.slice(0, i + 1))
  const service = await startUpstream(t, undefined, (request, socket) => {
    socket.write(switchingProtocols(request))
    for (const message of messages) socket.write(serverFrame(1, message))
  })
  const vault = await startVault(t, service.url, { policy: { upgrade: true } })
  const { until } = await upgrade(vault.port, '/s/github/ws', [LEASE])
  const all = Buffer.concat(messages.map((message) => serverFrame(1, message)))
  t.same(await until(all.length), all)
})

t.test('bytes that are no frames of a server end a WebSocket', async (t) => {
  const service = await startUpstream(t, undefined, (request, socket) => {
    socket.write(switchingProtocols(request))
    socket.write(`HTTP/1.1 200 OK\r\n\r\n${CREDENTIAL}`)
  })
  const vault = await startVault(t, service.url, { policy: { upgrade: true } })
  const { closed, received } = await upgrade(vault.port, '/s/github/ws', [LEASE])
  await closed
  t.notMatch(received().toString('latin1'), CREDENTIAL)
  await eventually(() => vault.endings().includes('failed'), 'the last row')
})

t.test('an extension that the service chooses all the same is refused', async (t) => {
  const service = await startUpstream(t, undefined, (request, socket) => {
    socket.write(switchingProtocols(request, 'Sec-WebSocket-Extensions: permessage-deflate\r\n'))
  })
  const { port } = await startVault(t, service.url, { policy: { upgrade: true } })
  const { answer } = await upgrade(port, '/s/github/ws', [LEASE])
  t.equal(answer.headers['x-vault-error'], 'answer-encoded')
})

t.test('the refusal of a service is passed on, scrubbed', async (t) => {
  const service = await startByteService(t, (head) =>
    answerText(sentField(head, 'authorization'), [], '401 No'),
  )
  const { port } = await startVault(t, service.origin, { policy: { upgrade: true } })
  const { answer, until } = await upgrade(port, '/s/github/ws', [LEASE])
  t.equal(answer.status, 401)
  t.equal((await until(43)).toString(), `Bearer ${'*'.repeat(CREDENTIAL.length)}`)
})

t.test('a revocation cuts a WebSocket on both sides', async (t) => {
  let isClosed = false
  const service = await startUpstream(t, undefined, (request, socket) => {
    socket.on('close', () => (isClosed = true))
    socket.write(switchingProtocols(request))
  })
  const vault = await startVault(t, service.url, { policy: { upgrade: true } })
  const { closed } = await upgrade(vault.port, '/s/github/ws', [LEASE])
  vault.revoke()
  await closed
  await eventually(() => isClosed, 'the connection to the service is closed')
  t.same(vault.endings(), ['cut'])
})
