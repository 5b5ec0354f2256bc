/** Attack: a path leaves the prefix that the entry allows, where the service reads it in another way than the vault. */
import type { Test } from 'tap'
import { refusalOf, runAgainstVault, type VaultPlace } from './attack.ts'
import { answerText, startByteService } from '../../helpers/vault-service.ts'

/** Paths that must not reach a service whose entry allows only `/repos`. */
const leaving =
  (refusal: string, ...paths: readonly string[]) =>
  async (t: Test, { aim }: VaultPlace) => {
    const service = await startByteService(t, () => answerText('ok'))
    const { sendToBoth } = await aim(service.origin, { paths: ['/repos'] })
    for (const path of paths)
      for (const answer of await sendToBoth(`GET ${path}`))
        t.equal(refusalOf(answer), refusal, path)
    return service.dials() > 0
  }

const BAD = '400 bad-target'
const OUTSIDE = '403 path-not-allowed'

await runAgainstVault(import.meta.url, {
  '//evil': leaving(BAD, '//evil.test/repos', '//repos', '/repos//admin', '/repos/%2f%2fadmin/..'),
  'dot segments': leaving(
    BAD,
    ...['/repos/../admin', '/repos/..', '/repos/./x', '/repos/x/../../admin'],
    ...['/repos/.%2e/admin', '/repos/%2e%2e/admin', '/repos/%252e%252e/admin', '/repos/%2E./admin'],
  ),
  '/..;/': leaving(
    BAD,
    '/repos/..;/admin',
    '/repos/..;a=b/admin',
    '/repos/%2e%2e;/admin',
    '/repos/..%3b/admin',
  ),
  'an encoded slash': leaving(
    BAD,
    ...['/repos/..%2fadmin', '/repos/%2e%2e%2fadmin', '/repos/..%252fadmin', '/repos%2f..%2fadmin'],
  ),
  'an encoded slash that leaves no segment': leaving(OUTSIDE, '/repos%2fx', '/repos%2Fx'),
  'dots before an escaped delimiter': leaving(
    BAD,
    ...['/repos/..%3f/x', '/repos/..%23', '/repos/.%3Fx', '/repos/%2e%2e%3f'],
    ...['/repos/..%253f', '/repos/a%2f..%23b'],
  ),
  'backslashes, controls and broken escapes': leaving(
    BAD,
    ...[
      '/repos/..%5cadmin',
      '/repos/..\\admin',
      '/repos/%00',
      '/repos/%0d%0aX:y',
      '/repos/%',
      '/repos/%c0%ae',
    ],
    ...['/repos/%ff', '/repos#/admin', '/repos/%0a'],
  ),
  'a path that only begins as the prefix': leaving(
    OUTSIDE,
    ...['/repos-private', '/reposx', '/REPOS', '/Repos/x', '/repos;x', '/repos%20', '/repos.json'],
    ...['/', '/admin', '/%72epos', '/admin?/repos'],
  ),
  'paths that only look so': async (t, { aim }) => {
    const service = await startByteService(t, (head) =>
      answerText(head.slice(0, head.indexOf('\r'))),
    )
    const { send } = await aim(service.origin, { paths: ['/repos'] })
    const lost: string[] = []
    for (const path of [
      ...['/repos/a..%3f', '/repos/c%23/x', '/repos/...%3f', '/repos/https%3A%2F%2Fa%2Fb'],
      ...['/repos', '/repos/', '/repos/..x', '/repos/x;v=1?y=../..'],
    ])
      if ((await send(`GET ${path}`)).body !== `GET ${path} HTTP/1.1`) lost.push(path)
    t.same(lost, [])
    return lost.length > 0
  },
})
