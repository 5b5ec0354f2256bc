/** Attack: the service divides the credential among packets, at any offset, or the agent watches what is held back. */
import { CREDENTIAL } from '../../helpers/vault-entry.ts'
import { bodyOf, isStolen, runAgainstVault } from './attack.ts'
import { answerText, startByteService } from '../../helpers/vault-service.ts'
import { startUpstream } from '../../helpers/upstream.ts'
import { readByPeer } from '../../helpers/waiting.ts'
import { gather, open, requestBytes } from '../../helpers/wire.ts'

const HALF = CREDENTIAL.length / 2

/** More than is held back. */
const PADDING = '='.repeat(2000)

const FIRST_CHUNK = /\r\n\r\n([0-9a-f]+)\r\n[^]+\r\n/

const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789'

await runAgainstVault(import.meta.url, {
  'chunks at every offset': async (t, { aim }) => {
    const { url } = await startUpstream(t, (request, response) => {
      const at = Number(request.url?.slice(1))
      response.write(`<${CREDENTIAL.slice(0, at)}`)
      // Only when the vault has read the first part, so that it gets two chunks.
      void readByPeer(request.socket).then(() => response.end(`${CREDENTIAL.slice(at)}>`))
    })
    const bodies: string[] = []
    for (let at = 0; at <= CREDENTIAL.length; at += 2) {
      const { send } = await aim(url) // three answers with the credential suspend an entry
      bodies.push(bodyOf(await send(`GET /${at}`)), bodyOf(await send(`GET /${at + 1}`)))
    }
    t.same([...new Set(bodies)], [`<${'*'.repeat(CREDENTIAL.length)}>`])
    return bodies.some((body) => isStolen(body))
  },
  'packets of one byte': async (t, { aim }) => {
    const service = await startByteService(t, (_head, socket) => {
      void (async () => {
        for (const byte of Buffer.from(answerText(`<${CREDENTIAL}>`, [`X-Key: ${CREDENTIAL}`]))) {
          socket.write(Buffer.of(byte))
          await readByPeer(socket)
        }
        socket.end()
      })()
      return undefined
    })
    return isStolen((await (await aim(service.origin)).send('GET /x')).raw)
  },
  'an event is held back until the next': async (t, { aim, port }) => {
    const { url } = await startUpstream(t, (_request, response) => {
      response.writeHead(200, { 'Content-Type': 'text/event-stream' })
      response.write(`data: hello\n\n`)
    })
    const { service, token } = await aim(url)
    const answer = await fetch(`http://127.0.0.1:${port}/s/${service}/events`, {
      headers: { Authorization: `Bearer ${token}` },
    })
    const reader = answer.body?.getReader()
    const first = Buffer.from((await reader?.read())?.value ?? []).toString()
    await reader?.cancel()
    return first !== 'data: hello\n\n'
  },
  'two answers with a half each': async (t, { aim }) => {
    const service = await startByteService(t, (head) =>
      answerText(head.startsWith('GET /1') ? CREDENTIAL.slice(0, HALF) : CREDENTIAL.slice(HALF)),
    )
    const { send } = await aim(service.origin)
    return isStolen(bodyOf(await send('GET /1')) + bodyOf(await send('GET /2')))
  },
  'two headers with a half each': async (t, { aim }) => {
    const service = await startByteService(t, () =>
      answerText('', [`X-A: ${CREDENTIAL.slice(0, HALF)}`, `X-B: ${CREDENTIAL.slice(HALF)}`]),
    )
    const { headers } = await (await aim(service.origin)).send('GET /x')
    return `${headers['x-a']}${headers['x-b']}` === CREDENTIAL
  },
  "a header's name with a half, and its value": async (t, { aim }) => {
    const service = await startByteService(t, () =>
      answerText('', [`${CREDENTIAL.slice(0, HALF)}: ${CREDENTIAL.slice(HALF)}`]),
    )
    const { raw } = await (await aim(service.origin)).send('GET /x')
    return raw.replaceAll(': ', '').includes(CREDENTIAL)
  },
  'the events of a stream with a piece each': async (t, { aim }) => {
    const pieces = CREDENTIAL.match(/.{1,4}/g) ?? []
    const service = await startByteService(t, () =>
      answerText(pieces.map((piece) => `data: ${piece}\n\n`).join('')),
    )
    const body = bodyOf(await (await aim(service.origin)).send('GET /x'))
    return body.replaceAll(/data: |\n/g, '') === CREDENTIAL
  },
  'two parts of multipart/byteranges that nobody asked for': async (t, { aim }) => {
    const part = (from: number, to: number) =>
      `--b\r\nContent-Range: bytes ${from}-${to - 1}/${CREDENTIAL.length}\r\n\r\n${CREDENTIAL.slice(from, to)}\r\n`
    const service = await startByteService(t, () =>
      answerText(
        `${part(0, HALF)}${part(HALF, CREDENTIAL.length)}--b--`,
        ['Content-Type: multipart/byteranges; boundary=b'],
        '206 Partial Content',
      ),
    )
    const body = bodyOf(await (await aim(service.origin)).send('GET /x'))
    return body.replaceAll(/(?:\r\n)?--b[^]*?\r\n\r\n|\r\n--b--/g, '') === CREDENTIAL
  },
  'a lone part of multipart/byteranges': async (t, { aim }) => {
    const service = await startByteService(t, () =>
      answerText(
        `--b\r\nContent-Range: bytes 0-3/99\r\n\r\n${CREDENTIAL}\r\n--b--`,
        ['Content-Type: multipart/byteranges; boundary=b'],
        '206 Partial Content',
      ),
    )
    return isStolen((await (await aim(service.origin)).send('GET /x')).raw)
  },
  // An honest service that says what it is asked to say, piece by piece, as language models do, or as a store of files does.
  'what is held back of a stream tells the next character': async (t, { aim, port }) => {
    const { url } = await startUpstream(t, (request, response) => {
      response.write(`${PADDING}${request.url?.slice(1)}`)
    })
    const { service, lease } = await aim(url)
    const bytesAtOnce = async (guess: string) => {
      const socket = await open(port)
      const received = gather(socket)
      socket.write(requestBytes(`GET /s/${service}/${guess}`, [lease, 'Host: 127.0.0.1']))
      const text = await received.until((so) => FIRST_CHUNK.test(so))
      socket.destroy()
      return Number.parseInt(FIRST_CHUNK.exec(text)?.[1] ?? '', 16)
    }
    let known = 'ghp_' // every token of this service begins so
    while (known.length < 6) {
      const sizes = new Map<string, number>()
      for (const letter of ALPHABET) sizes.set(letter, await bytesAtOnce(known + letter))
      const least = Math.min(...sizes.values())
      const best = [...sizes].flatMap(([letter, size]) => (size === least ? [letter] : []))
      if (best.length !== 1) break
      known += best.join('')
    }
    return known.length > 4 && CREDENTIAL.startsWith(known)
  },
})
