/** Is a minted token accepted by its own workspace, and by no other? */
import t from 'tap'
import { mintToken } from '../../src/identity/mint.ts'
import { buildTokenVerifier } from '../../src/identity/verifier.ts'
import { RULES, SECRET, verdict } from '../helpers/forged-tokens.ts'

t.test('a minted token is valid at its workspace, and at no other', async (t) => {
  const minted = await mintToken({
    secret: SECRET,
    workspace: 'houston',
    subject: 'Zoë',
    ttlSeconds: 60,
    issuer: 'https://hubify.com',
  })
  const rules = { ...RULES, issuer: 'https://hubify.com' }
  const atOnce = buildTokenVerifier(rules, [SECRET])
  const principal = await atOnce.verify(minted)
  t.equal(principal.subject, 'Zoë')
  t.ok(Math.abs(principal.expiresAt - Date.now() / 1000 - 60) < 5)
  const research = buildTokenVerifier({ ...rules, workspace: 'research' }, [SECRET])
  t.equal(await verdict(minted, research), 'token-invalid')
  const another = await mintToken({
    secret: SECRET,
    workspace: 'houston',
    subject: 'Zoë',
    ttlSeconds: 60,
  })
  t.not(another, minted)
  t.equal(await verdict(another, buildTokenVerifier(RULES, [SECRET])), 'Zoë')
})

t.test('a token that no workspace would accept is not minted', async (t) => {
  const mint = (subject: string, ttlSeconds: number) =>
    mintToken({ secret: SECRET, workspace: 'houston', subject, ttlSeconds })
  for (const subject of ['', 'a'.repeat(257), 'a\nb', '\ud800'])
    await t.rejects(mint(subject, 60), { message: /subject/ })
  await t.rejects(mint('alice', 9_999_999 * 86_400), { message: /after 9999/ })
})
