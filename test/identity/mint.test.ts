/** Is a minted token accepted by its own workspace, and by no other? */
import t from 'tap'
import { Key } from '../../src/identity/key-ring.ts'
import { mintSessionToken, mintToken } from '../../src/identity/mint.ts'
import {
  identity,
  NOW,
  RULES,
  SECRET,
  signIn,
  verdict,
  verifier,
  withClaims,
} from '../helpers/forged-tokens.ts'

const today = { secrets: [SECRET] as const, now: Date.now }

const claimsOf = (token: string) =>
  JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString()) as Record<
    string,
    unknown
  >

t.test('a minted token is valid at its workspace, and at no other', async (t) => {
  const minted = await mintToken({
    secret: SECRET,
    workspace: 'houston',
    subject: 'Zoë',
    ttlSeconds: 60,
    issuer: 'https://hubify.com',
  })
  const rules = { ...RULES, issuer: 'https://hubify.com' }
  const principal = await verifier({ ...today, rules }).verify(minted)
  t.equal(principal.subject, 'Zoë')
  t.ok(Math.abs(principal.session.endsAt - Date.now() - 60_000) < 5000)
  const research = verifier({ ...today, rules: { ...rules, workspace: 'research' } })
  t.equal(await verdict(minted, research), 'token-invalid')
  const another = await mintToken({
    secret: SECRET,
    workspace: 'houston',
    subject: 'Zoë',
    ttlSeconds: 60,
  })
  t.not(another, minted)
  t.equal(await verdict(another, verifier(today)), 'Zoë')
})

t.test('a token that no workspace would accept is not minted', async (t) => {
  const mint = (subject: string, ttlSeconds: number) =>
    mintToken({ secret: SECRET, workspace: 'houston', subject, ttlSeconds })
  for (const subject of ['', 'a'.repeat(257), 'a\nb', '\ud800'])
    await t.rejects(mint(subject, 60), { message: /subject/ })
  await t.rejects(mint('alice', 9_999_999 * 86_400), { message: /after 9999/ })
})

t.test('a link can last minutes and start a session of hours', async (t) => {
  const subject = identity(today)
  const link = await mintToken({
    ...{ secret: SECRET, workspace: 'houston', subject: 'alice' },
    ...{ ttlSeconds: 600, sessionSeconds: 43_200 },
  })
  const { session } = await signIn(subject, link)
  t.ok(Math.abs(session.endsAt - Date.now() - 43_200_000) < 5000)
})

t.test('a session token has the claims of the contract, and no more', async (t) => {
  const subject = identity()
  const ticket = withClaims({
    ...{ iat: NOW - 100, auth_time: NOW - 200, amr: ['pwd', 'otp'], jti: 'j', sid: 's' },
    ...{ iss: 'https://hubify.com', role: 'admin', session_exp: NOW + 7200 },
  })
  const { token, session, browser } = await signIn(subject, ticket)
  const claims = claimsOf(token)
  t.same(claims, {
    ...{ sub: 'alice', aud: 'houston', use: 'session', iat: NOW, exp: NOW + 7200 },
    ...{ auth_time: NOW - 200, amr: ['pwd', 'otp'], sid: session.id, jti: browser.tokenId },
  })
  for (const name of ['sid', 'jti']) t.match(claims[name], /^[A-Za-z0-9_-]{22}$/, '128 bits')
  const header: unknown = JSON.parse(Buffer.from(token.split('.')[0] ?? '', 'base64url').toString())
  t.same(header, { alg: 'HS256', typ: 'JWT', kid: new Key(SECRET).kid })
  t.equal(await verdict(token, subject.verifier), 'alice')
  const configured = identity({ rules: { ...RULES, issuer: 'https://hubify.com' } })
  const own = await signIn(configured, withClaims({ iss: 'https://hubify.com', jti: 'j' }))
  t.equal(await verdict(own.token, configured.verifier), 'alice', 'it needs no issuer')
})

t.test('times of a session token are whole seconds, rounded down', async (t) => {
  const token = await mintSessionToken(new Key(SECRET), {
    ...{ workspace: 'houston', subject: 'alice', sessionId: 's', tokenId: 'j', methods: [] },
    ...{ issuedAt: 1999, authenticatedAt: 1001, endsAt: 5999, factorAt: 2999 },
  })
  t.match(claimsOf(token), { iat: 1, auth_time: 1, exp: 5, factor_time: 2 })
  t.notOk('amr' in claimsOf(token))
})
