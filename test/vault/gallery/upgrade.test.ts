/** Attack: a WebSocket, or another protocol, through which the credential is repeated unseen. */
import { deflateRawSync, inflateRawSync } from 'node:zlib'
import type { Test } from 'tap'
import { eventually } from '../../helpers/waiting.ts'
import { clientFrame, serverFrame } from '../../helpers/wire.ts'
import { startUpstream, switchingProtocols } from '../../helpers/upstream.ts'
import { CREDENTIAL } from '../../helpers/vault-entry.ts'
import { isStolen, refusalOf, runAgainstVault, type VaultPlace } from './attack.ts'
import { answerText, sentField, startByteService } from '../../helpers/vault-service.ts'

const HALF = CREDENTIAL.length / 2

const UPGRADE = { upgrade: true }

/** A service that answers 101 with these bytes, when it was asked for a WebSocket and when not. */
const switched =
  (answer: string) =>
  async (t: Test, { aim }: VaultPlace) => {
    const service = await startByteService(t, () => answer)
    const plain = await aim(service.origin)
    const first = await plain.send('GET /x')
    t.equal(refusalOf(first), '502 answer-malformed')
    t.same(await plain.endings(), ['answer-malformed'])
    const webSocket = await aim(service.origin, UPGRADE)
    const { answer: second, closed, received } = await webSocket.upgrade()
    await closed
    return isStolen(first.raw) || isStolen(second.raw) || isStolen(received())
  }

/** A service that accepts the WebSocket and sends these frames. */
const startSpeaker = (t: Test, frames: readonly Buffer[], extra = '') =>
  startUpstream(t, undefined, (request, socket) => {
    socket.write(switchingProtocols(request, extra))
    for (const frame of frames) socket.write(frame)
  })

await runAgainstVault(import.meta.url, {
  'a WebSocket that the entry does not allow': async (t, { aim }) => {
    const service = await startUpstream(t)
    const { upgrade } = await aim(service.url)
    const { answer } = await upgrade()
    t.equal(refusalOf(answer), '403 upgrade-not-allowed')
    return service.dials() > 0
  },
  'another protocol than WebSocket': async (t, { aim }) => {
    const service = await startUpstream(t)
    const { send, upgrade } = await aim(service.url, UPGRADE)
    for (const protocol of ['websocket, h2c', 'WebSocket/13, TLS/1.0']) {
      const { answer, socket } = await upgrade([`Upgrade: ${protocol}`])
      t.not(answer.status, 101, protocol)
      socket.destroy()
    }
    await send('GET /x', ['Connection: close, Upgrade', 'Upgrade: h2c'])
    const asked = service.requests.flatMap(({ headers }) => headers.upgrade ?? [])
    return asked.length > 0
  },
  '101 without being asked': switched(
    `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n${CREDENTIAL}`,
  ),
  '101 without a protocol': switched(
    `HTTP/1.1 101 Switching Protocols\r\n\r\nHTTP/1.1 200 OK\r\n\r\n${CREDENTIAL}`,
  ),
  'a message with the credential, and extensions that are asked for': async (t, { aim }) => {
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
    const { upgrade, uses, endings } = await aim(service.url, UPGRADE)
    const { answer, until, closed, socket } = await upgrade(
      ['Sec-WebSocket-Extensions: permessage-deflate'],
      early,
    )
    t.equal(answer.status, 101)
    const first = serverFrame(1, `token Bearer ${'*'.repeat(CREDENTIAL.length)}`)
    const second = serverFrame(1, 'got it')
    const received = await until(first.length + second.length)
    t.same(received, Buffer.concat([first, second]), 'it passes in both directions')
    const [request] = service.requests
    t.equal(request?.headers['sec-websocket-extensions'], undefined)
    t.equal(request?.headers.authorization, `Bearer ${CREDENTIAL}`)
    socket.end()
    await closed
    await endings()
    t.same(
      uses().map(({ op, reason }) => reason ?? op),
      ['use', 'reflected', 'done'],
    )
    return isStolen(received)
  },
  'a message that ends as the credential begins waits for the next': async (t, { aim }) => {
    const messages = Array.from({ length: 20 }, (_, i) => CREDENTIAL.slice(0, i + 1))
    const frames = messages.map((message) => serverFrame(1, message))
    const { url } = await startSpeaker(t, frames)
    const { until, socket } = await (await aim(url, UPGRADE)).upgrade()
    const all = Buffer.concat(frames)
    const received = await until(all.length)
    socket.destroy()
    return !received.equals(all)
  },
  'bytes that are no frames of a server': async (t, { aim }) => {
    const { url } = await startSpeaker(t, [Buffer.from(`HTTP/1.1 200 OK\r\n\r\n${CREDENTIAL}`)])
    const { upgrade, endings } = await aim(url, UPGRADE)
    const { closed, received } = await upgrade()
    await closed
    t.same(await endings(), ['failed'])
    return isStolen(received())
  },
  'frames that say that they are compressed': async (t, { aim }) => {
    const compressed = serverFrame(1, deflateRawSync(CREDENTIAL))
    compressed[0] = (compressed[0] ?? 0) | 0x40 // RSV1 (RFC 7692 section 6)
    const { url } = await startSpeaker(t, [compressed])
    const { upgrade, endings } = await aim(url, UPGRADE)
    const { until } = await upgrade()
    const received = await until(compressed.length)
    if (received.length > 0) return inflateRawSync(received.subarray(2)).toString() === CREDENTIAL
    t.same(await endings(), ['failed'])
    return false
  },
  'an extension that the service chooses all the same': async (t, { aim }) => {
    const { url } = await startSpeaker(t, [], 'Sec-WebSocket-Extensions: permessage-deflate\r\n')
    const { answer } = await (await aim(url, UPGRADE)).upgrade()
    return refusalOf(answer) !== '502 answer-encoded'
  },
  'in the head of 101': async (t, { aim }) => {
    const { url } = await startSpeaker(t, [], `X-Key: ${CREDENTIAL}\r\nX-${CREDENTIAL}: 1\r\n`)
    const { answer, socket } = await (await aim(url, UPGRADE)).upgrade()
    socket.destroy()
    t.equal(answer.status, 101)
    return isStolen(answer.raw)
  },
  'the refusal of a service': async (t, { aim }) => {
    const service = await startByteService(t, (head) =>
      answerText(sentField(head, 'authorization'), [], '401 No'),
    )
    const { answer, until } = await (await aim(service.origin, UPGRADE)).upgrade()
    t.equal(answer.status, 401)
    const body = (await until(43)).toString()
    t.equal(body, `Bearer ${'*'.repeat(CREDENTIAL.length)}`)
    return isStolen(body)
  },
  'a WebSocket that goes on when its grant is revoked': async (t, { aim, vault }) => {
    let isClosed = false
    const service = await startUpstream(t, undefined, (request, socket) => {
      socket.on('close', () => (isClosed = true))
      socket.write(switchingProtocols(request))
    })
    const { upgrade, service: name, endings } = await aim(service.url, UPGRADE)
    const { closed } = await upgrade()
    await vault.command(`/v1/entries/${name}/revoke`, { agents: ['coder'] })
    await closed
    await eventually(() => isClosed, 'the connection to the service is closed')
    return (await endings()).join() !== 'cut'
  },
  'two frames of a message with a half each': async (t, { aim }) => {
    const frames = [
      serverFrame(1, CREDENTIAL.slice(0, HALF), false),
      serverFrame(0, CREDENTIAL.slice(HALF)),
    ]
    const { url } = await startSpeaker(t, frames)
    const { until, socket } = await (await aim(url, UPGRADE)).upgrade()
    const received = await until(CREDENTIAL.length + 4)
    socket.destroy()
    return received.equals(Buffer.concat(frames))
  },
})
