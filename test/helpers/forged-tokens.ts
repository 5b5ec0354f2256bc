/** Makes tokens for the tests of identity, field by field, and what judges them at a time that the test sets. */
import { createHmac } from 'node:crypto'
import { GatewayError } from '../../src/answers/errors.ts'
import { ApiTokens } from '../../src/identity/api-tokens.ts'
import { KeyRing, type Secrets } from '../../src/identity/key-ring.ts'
import { mintSessionToken } from '../../src/identity/mint.ts'
import { newName, Sessions, type BrowserSession, type Ticket } from '../../src/identity/sessions.ts'
import type { Session } from '../../src/identity/session.ts'
import type { TokenRules } from '../../src/identity/token.ts'
import { TokenVerifier } from '../../src/identity/verifier.ts'
import { State } from '../../src/store/state.ts'

export const SECRET = 'k8f2mD5xQ9vB1nR7tY3wL6pZ0sH4jC8a'
export const OTHER_SECRET = 'Zq4Wm7Xn2Cv5Bb8Nk1Lj3Hg6Fd9Sa0Pe'

/** The time of these tests, in seconds since 1970. */
export const NOW = 1_800_000_000
export const LEEWAY = 30

export const RULES: TokenRules = { workspace: 'houston', issuer: undefined, leewaySeconds: LEEWAY }
export const HEADER = { alg: 'HS256', typ: 'JWT' }
export const CLAIMS = { sub: 'alice', aud: 'houston', exp: NOW + 3600 }

export function base64url(text: string | Buffer): string {
  return Buffer.from(text).toString('base64url')
}

/** A part of a token, from an object, or from JSON text or bytes as they are. */
export function part(value: unknown): string {
  return base64url(
    typeof value === 'string' || Buffer.isBuffer(value) ? value : JSON.stringify(value),
  )
}

export function hmac(input: string, secret: string, hash = 'sha256'): string {
  return createHmac(hash, secret).update(input).digest('base64url')
}

/** Makes a token that is signed with HMAC, whatever its header names. */
export function forge(header: unknown, claims: unknown, secret = SECRET, hash = 'sha256'): string {
  const input = `${part(header)}.${part(claims)}`
  return `${input}.${hmac(input, secret, hash)}`
}

export const withClaims = (fields: object): string => forge(HEADER, { ...CLAIMS, ...fields })

/** What a test of identity may choose. */
export interface IdentityOptions {
  readonly rules?: TokenRules
  readonly secrets?: Secrets
  /** Milliseconds since 1970. */
  readonly now?: () => number
  readonly state?: State
  readonly maxSeconds?: number
}

/** The parts that decide who is calling, as a gateway makes them. */
export function identity({
  rules = RULES,
  secrets = [SECRET],
  now = () => NOW * 1000,
  state = State.inMemory(),
  maxSeconds = 30 * 86_400,
}: IdentityOptions = {}) {
  const keys = new KeyRing(secrets)
  const sessions = new Sessions(state, { maxSeconds, leewaySeconds: rules.leewaySeconds, now })
  const verifierOfIt = new TokenVerifier({
    ...{ rules, keys, sessions, now },
    apiTokens: new ApiTokens(state),
  })
  sessions.load((kid) => keys.has(kid))
  return { state, keys, sessions, verifier: verifierOfIt, now }
}

export type Identity = ReturnType<typeof identity>

/** Only the verifier. */
export function verifier(options: IdentityOptions = {}): TokenVerifier {
  return identity(options).verifier
}

/** Replaces the keys as SIGHUP does. */
export function setKeys({ keys, sessions, verifier: cache }: Identity, secrets: Secrets): void {
  keys.replace(secrets)
  cache.forget(({ key }) => key !== undefined && !keys.has(key.kid))
  sessions.endWithoutKey((kid) => keys.has(kid))
}

export const DEVICE = { name: 'Browser/1.0', address: '203.0.113.9' }

/** A browser that is signed in, and its session token. */
export interface SignedIn {
  readonly browser: BrowserSession
  readonly session: Session
  readonly token: string
}

/** Signs a browser in as the route does: the ticket is verified, a token is minted, and the session starts. */
export async function signIn(
  subject: Identity,
  ticket: string | Ticket = withClaims({ iat: subject.now() / 1000, jti: newName() }),
  { replaces, inUrl = false }: { replaces?: Session; inUrl?: boolean } = {},
): Promise<SignedIn> {
  const { sessions } = subject
  const checked =
    typeof ticket === 'string' ? await subject.verifier.verifyTicket(ticket, inUrl) : ticket
  const minted = await mint(subject, checked, newName())
  const ids = { id: minted.sessionId, tokenId: minted.tokenId, kid: minted.kid }
  const browser = sessions.start(checked, ids, DEVICE, replaces)
  return { browser, session: browser.session, token: minted.token }
}

/** Renews a session as the route does. @returns its new token */
export async function renew(
  subject: Identity,
  { browser }: Pick<SignedIn, 'browser'>,
  ticket = withClaims({ iat: subject.now() / 1000, jti: newName() }),
): Promise<SignedIn> {
  const checked = await subject.verifier.verifyTicket(ticket, false)
  const minted = await mint(subject, checked, browser.session.id, browser.session.endsAt)
  const proof = subject.sessions.proof(browser, checked.claims)
  const renewed = subject.sessions.renew(browser, checked, { ...minted, proof })
  return { browser: renewed, session: renewed.session, token: minted.token }
}

async function mint(
  { keys, sessions, now }: Identity,
  { claims }: Ticket,
  sessionId: string,
  until = 0,
) {
  const { signing } = keys
  const tokenId = newName()
  const token = await mintSessionToken(signing, {
    ...{ workspace: RULES.workspace, subject: claims.subject, methods: claims.methods },
    ...{ sessionId, tokenId, issuedAt: now() },
    authenticatedAt: sessions.authenticatedAt(claims),
    endsAt: Math.max(until, sessions.endOf(claims)),
    factorAt: undefined,
  })
  return { token, tokenId, sessionId, kid: signing.kid }
}

/** A state whose writes fail while `isFull` says so, as on a full disk. */
export class FullDisk {
  isFull = false
  readonly state = State.inMemory()

  constructor() {
    const write = this.state.write.bind(this.state)
    this.state.write = (change) => {
      write((database) => {
        change(database)
        if (this.isFull) throw new Error('database or disk is full')
      })
    }
  }
}

/** The result of a verification: the subject of the token, or the code of the refusal. */
export async function verdict(token: string, from = verifier()): Promise<string> {
  return outcome(async () => (await from.verify(token)).subject)
}

/** What something returns, or the code of the refusal that it throws. */
export async function outcome<T>(act: () => T | Promise<T>): Promise<T | string> {
  try {
    return await act()
  } catch (error) {
    if (error instanceof GatewayError) return error.code
    throw error
  }
}

export const GOOD = forge(HEADER, CLAIMS)
