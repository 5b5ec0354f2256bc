/** Attack: an agent that speaks HTTP/1.0, in which the end of an answer is only that of the connection. */
import { exchange, gather, open, parseAnswer } from '../../helpers/wire.ts'
import { CREDENTIAL } from '../../helpers/vault-entry.ts'
import type { Test } from 'tap'
import { isStolen, runAgainstVault, type VaultPlace } from './attack.ts'
import { startUpstream } from '../../helpers/upstream.ts'

/** An answer that breaks off in its middle. A plain end of the connection would say that it is whole. */
const broken =
  (doorOf: (place: VaultPlace) => number | string) => async (t: Test, place: VaultPlace) => {
    const { url } = await startUpstream(t, (_request, response) => {
      response.write('half', () => response.destroy())
    })
    const { service, lease } = await place.aim(url)
    const socket = await open(doorOf(place))
    const received = gather(socket)
    socket.write(`GET /s/${service}/x HTTP/1.0\r\nHost: 127.0.0.1\r\n${lease}\r\n\r\n`)
    return (await received.over).how !== 'reset'
  }

await runAgainstVault(import.meta.url, {
  'an answer to HTTP/1.0': async (t, { aim, vault }) => {
    const { url } = await startUpstream(t, (request, response) => {
      response.write('<')
      response.end(`${request.headers.authorization}>`)
    })
    const { service, lease } = await aim(url)
    const { body, headers } = parseAnswer(
      await exchange(vault.coder, `GET /s/${service}/x HTTP/1.0\r\n${lease}\r\n\r\n`),
    )
    t.equal(body, `<Bearer ${'*'.repeat(CREDENTIAL.length)}>`)
    t.equal(headers['transfer-encoding'], undefined)
    return isStolen(body)
  },
  'a broken answer to HTTP/1.0, which looks whole when it just ends': broken(({ port }) => port),
  'a broken answer to HTTP/1.0, at a socket': broken(({ vault }) => vault.coder),
})
