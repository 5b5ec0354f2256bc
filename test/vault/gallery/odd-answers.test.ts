/** Attack: the service puts the credential where clients and proxies rarely look: trailers, interim answers, chunk extensions, folded lines. */
import type { Test } from 'tap'
import { send } from '../../helpers/wire.ts'
import { CREDENTIAL } from '../../helpers/vault-entry.ts'
import { bodyOf, isStolen, refusalOf, runAgainstVault, type VaultPlace } from './attack.ts'
import { answerText, startByteService } from '../../helpers/vault-service.ts'

const HALF = CREDENTIAL.length / 2

const CHUNKED = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n'

/** An answer that passes without the part that nobody may see. */
const passes =
  (bytes: string | Buffer, line = 'GET /x', fields: readonly string[] = []) =>
  async (t: Test, { aim }: VaultPlace) => {
    const service = await startByteService(t, () => bytes)
    const answer = await (await aim(service.origin)).send(line, fields)
    t.equal(answer.status, 200)
    t.equal(bodyOf(answer), line.startsWith('HEAD') ? '' : 'ok')
    t.notMatch(answer.raw, /X-Key|Link|Set-Cookie/i)
    return isStolen(answer.raw)
  }

/** Answers that are refused, each. */
const refused =
  (...answers: readonly (string | Buffer)[]) =>
  async (t: Test, { aim }: VaultPlace) => {
    let isBad = false
    for (const bytes of answers) {
      const service = await startByteService(t, () => bytes)
      const answer = await (await aim(service.origin)).send('GET /x')
      t.equal(refusalOf(answer), '502 answer-malformed', JSON.stringify(bytes.toString('latin1')))
      isBad ||= isStolen(answer.raw) || answer.status !== 502
    }
    return isBad
  }

await runAgainstVault(import.meta.url, {
  'in a trailer': passes(
    `${CHUNKED}Trailer: X-Key\r\n\r\n2\r\nok\r\n0\r\nX-Key: ${CREDENTIAL}\r\n\r\n`,
  ),
  'in a chunk extension': passes(
    `${CHUNKED}\r\n2;x="${CREDENTIAL}"\r\nok\r\n0;${CREDENTIAL}\r\n\r\n`,
  ),
  'in 103 Early Hints': passes(
    `HTTP/1.1 103 Early Hints\r\nLink: <${CREDENTIAL}>\r\n\r\n${answerText('ok')}`,
  ),
  'in 100 Continue that nobody waits for': passes(
    `HTTP/1.1 100 ${CREDENTIAL}\r\nX-Key: ${CREDENTIAL}\r\n\r\n`.repeat(3) + answerText('ok'),
  ),
  'in the body of an answer to HEAD': passes(
    answerText('ok', [`X-A: 1`]).replace(/ok$/, CREDENTIAL),
    'HEAD /x',
  ),
  'behind the end of an answer': passes(`${answerText('ok')}HTTP/1.1 200 ${CREDENTIAL}\r\n\r\n`),
  'in a session cookie': passes(
    answerText('ok', [`Set-Cookie: k=${CREDENTIAL}`, `Set-Cookie2: k=${CREDENTIAL}`]),
  ),
  'in a header that Connection names': passes(
    answerText('ok', [`X-Key: ${CREDENTIAL}`]).replace('close', 'close, X-Key'),
  ),
  'in the body of 204': async (t, { aim }) => {
    const service = await startByteService(
      t,
      () => `HTTP/1.1 204 No Content\r\nContent-Length: 36\r\n\r\n${CREDENTIAL}`,
    )
    const { raw } = await (await aim(service.origin)).send('GET /x')
    return isStolen(raw) || /content-length/i.test(raw)
  },
  'in a folded line': async (t, { aim }) => {
    const service = await startByteService(t, () =>
      answerText('ok', [`X-Key: ${CREDENTIAL.slice(0, HALF)}\r\n ${CREDENTIAL.slice(HALF)}`]),
    )
    const { raw } = await (await aim(service.origin)).send('GET /x')
    return isStolen(raw.replaceAll(/\s/g, ''))
  },
  'an answer with two lengths': refused(
    'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!',
    'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok',
    'HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok',
    'HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok',
  ),
  'bare CR and LF, NUL, and no proper head': refused(
    `HTTP/1.1 200 OK\r\nX-A: 1\rX-Key: ${CREDENTIAL}\r\nContent-Length: 2\r\n\r\nok`,
    `HTTP/1.1 200 OK\nX-A: 1\nX-Key: ${CREDENTIAL}\nContent-Length: 2\n\nok`,
    `HTTP/1.1 200 OK\r\nX-A: 1\0${CREDENTIAL}\r\nContent-Length: 2\r\n\r\nok`,
    `HTTP/1.1 200 OK\r\nX-Key : ${CREDENTIAL}\r\nContent-Length: 2\r\n\r\nok`,
    `HTTP/1.1 200 OK\r\n: ${CREDENTIAL}\r\nContent-Length: 2\r\n\r\nok`,
    `HTTP/1.1 099 ${CREDENTIAL}\r\nContent-Length: 2\r\n\r\nok`,
    `${CREDENTIAL}\r\n`,
    `HTTP/1.1 200 OK\r\nX-Key: ${CREDENTIAL.repeat(3000)}\r\n\r\n`,
  ),
  'a second answer for the next request': async (t, { aim, port }) => {
    const service = await startByteService(t, () => {
      const first = answerText('one').replace('close', 'keep-alive')
      return `${first}${answerText('two').replace('close', 'keep-alive')}`
    })
    const { service: name, lease } = await aim(service.origin)
    const ask = () => send(port, `GET /s/${name}/x`, [lease, 'Host: 127.0.0.1'])
    const bodies = [bodyOf(await ask()), bodyOf(await ask())]
    t.equal(service.dials(), 2, 'that connection is not used again')
    return bodies.includes('two')
  },
  'an answer that is said to be the vault’s own': async (t, { aim }) => {
    const service = await startByteService(t, () =>
      answerText('{}', ['X-Vault-Error: not-granted', 'x-vault-error: not-granted'], '403 No'),
    )
    const { headers } = await (await aim(service.origin)).send('GET /x')
    return headers['x-vault-error'] !== undefined
  },
})
