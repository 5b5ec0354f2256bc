/** Which tokens are valid, and is every other token refused, whatever is wrong with it? */
import { generateKeyPairSync, sign, type KeyObject } from 'node:crypto'
import { inspect } from 'node:util'
import * as fc from 'fast-check'
import t from 'tap'
import { GatewayError } from '../../src/answers/errors.ts'
import { isTokenShaped, MAX_TOKEN_LENGTH, readHeader } from '../../src/identity/token.ts'
import { anyText } from '../helpers/any-text.ts'
import {
  base64url,
  CLAIMS,
  forge,
  GOOD,
  HEADER,
  hmac,
  LEEWAY,
  NOW,
  OTHER_SECRET,
  part,
  RULES,
  SECRET,
  verdict,
  verifier,
  withClaims,
} from '../helpers/forged-tokens.ts'

const [GOOD_HEADER = '', GOOD_CLAIMS = '', GOOD_SIGNATURE = ''] = GOOD.split('.')
const RSA = generateKeyPairSync('rsa', { modulusLength: 2048 })
const EC = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const RSA_PUBLIC_PEM = RSA.publicKey.export({ type: 'spki', format: 'pem' }).toString()
const EC_PUBLIC_PEM = EC.publicKey.export({ type: 'spki', format: 'pem' }).toString()

function signedBy(alg: string, key: KeyObject): string {
  const input = `${part({ ...HEADER, alg })}.${part(CLAIMS)}`
  return `${input}.${sign('sha256', Buffer.from(input), key).toString('base64url')}`
}

/** The digit after `char` in base64url. At the end of a part, it encodes the same bytes if only spare bits differ. */
function nextDigit(char: string): string {
  const digits = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
  return digits[(digits.indexOf(char) + 1) % 64] ?? 'A'
}

const withHeader = (fields: object): string => forge({ ...HEADER, ...fields }, CLAIMS)

/** A token whose claims have one value written by hand, because JSON.stringify cannot write 1e400. */
const withRawClaim = (name: string, json: string): string => {
  const { [name]: _, ...rest } = CLAIMS as Record<string, unknown>
  return forge(HEADER, `${JSON.stringify(rest).slice(0, -1)},"${name}":${json}}`)
}

const unsigned = (alg: unknown): string => `${part({ typ: 'JWT', alg })}.${GOOD_CLAIMS}.`

const FORGED: ReadonlyArray<readonly [name: string, token: string]> = [
  // The token must not choose the algorithm.
  ['alg none without a signature', unsigned('none')],
  ['alg None', unsigned('None')],
  ['alg NONE', unsigned('NONE')],
  ['alg nOnE', unsigned('nOnE')],
  ['alg none with a space', unsigned('none ')],
  ['alg none with a signature', forge({ alg: 'none' }, CLAIMS)],
  ['alg HS256 without a signature', `${GOOD_HEADER}.${GOOD_CLAIMS}.`],
  ['alg empty', withHeader({ alg: '' })],
  ['alg missing', forge({ typ: 'JWT' }, CLAIMS)],
  ['alg null', withHeader({ alg: null })],
  ['alg true', withHeader({ alg: true })],
  ['alg a number', withHeader({ alg: 256 })],
  ['alg an array', withHeader({ alg: ['HS256'] })],
  ['alg an object', withHeader({ alg: { toString: 'HS256' } })],
  ['alg hs256', withHeader({ alg: 'hs256' })],
  ['alg Hs256', withHeader({ alg: 'Hs256' })],
  ['alg with a space before', withHeader({ alg: ' HS256' })],
  ['alg with a space after', withHeader({ alg: 'HS256 ' })],
  ['alg with a NUL after', withHeader({ alg: 'HS256\0' })],
  ['alg HS384, signed so', forge({ ...HEADER, alg: 'HS384' }, CLAIMS, SECRET, 'sha384')],
  ['alg HS512, signed so', forge({ ...HEADER, alg: 'HS512' }, CLAIMS, SECRET, 'sha512')],
  ['alg HS384, signed with SHA-256', withHeader({ alg: 'HS384' })],
  ['alg HS512, signed with SHA-256', withHeader({ alg: 'HS512' })],
  ['alg HS256, signed with SHA-384', forge(HEADER, CLAIMS, SECRET, 'sha384')],
  ['alg HS256, signed with SHA-512', forge(HEADER, CLAIMS, SECRET, 'sha512')],
  ['alg HS1', forge({ ...HEADER, alg: 'HS1' }, CLAIMS, SECRET, 'sha1')],
  ['alg RS256, signed with RSA', signedBy('RS256', RSA.privateKey)],
  ['alg RS256, signed with HMAC', withHeader({ alg: 'RS256' })],
  ['alg PS256', withHeader({ alg: 'PS256' })],
  ['alg ES256, signed with EC', signedBy('ES256', EC.privateKey)],
  ['alg ES256, signed with HMAC', withHeader({ alg: 'ES256' })],
  ['alg EdDSA', withHeader({ alg: 'EdDSA' })],
  ['alg dir', withHeader({ alg: 'dir' })],
  ['alg HS256 over an RSA signature', signedBy('HS256', RSA.privateKey)],
  ['HMAC with an RSA public key as the secret', forge(HEADER, CLAIMS, RSA_PUBLIC_PEM)],
  ['HMAC with an EC public key as the secret', forge(HEADER, CLAIMS, EC_PUBLIC_PEM)],
  // The token must not bring a key or instructions.
  ['crit empty', withHeader({ crit: [] })],
  ['crit naming exp', withHeader({ crit: ['exp'], exp: NOW })],
  ['crit naming b64', withHeader({ crit: ['b64'], b64: true })],
  ['crit naming an invention', withHeader({ crit: ['x'], x: 1 })],
  ['crit null', withHeader({ crit: null })],
  ['crit a string', withHeader({ crit: 'alg' })],
  ['b64 false', withHeader({ b64: false })],
  ['b64 false, told in crit', withHeader({ b64: false, crit: ['b64'] })],
  ['b64 true', withHeader({ b64: true })],
  ['jwk with a key of its own', withHeader({ jwk: { kty: 'oct', k: base64url(SECRET) } })],
  ['jwk null', withHeader({ jwk: null })],
  ['jku', withHeader({ jku: 'https://evil.example/keys' })],
  ['x5u', withHeader({ x5u: 'https://evil.example/cert' })],
  ['x5c', withHeader({ x5c: ['AAAA'] })],
  ['x5t', withHeader({ x5t: 'AAAA' })],
  ['x5t#S256', withHeader({ 'x5t#S256': 'AAAA' })],
  ['x5 of a later year', withHeader({ 'x5t#S512': 'AAAA' })],
  ['JWK in capitals', withHeader({ JWK: {} })],
  ['cty JWT: a nested token', withHeader({ cty: 'JWT' })],
  ['zip', withHeader({ zip: 'DEF' })],
  ['enc', withHeader({ enc: 'A256GCM' })],
  ['typ JWE', withHeader({ typ: 'JWE' })],
  ['typ at+jwt', withHeader({ typ: 'at+jwt' })],
  ['typ JOSE', withHeader({ typ: 'JOSE' })],
  ['typ empty', withHeader({ typ: '' })],
  ['typ null', withHeader({ typ: null })],
  ['typ a number', withHeader({ typ: 1 })],
  ['typ an array', withHeader({ typ: ['JWT'] })],
  ['typ with a space', withHeader({ typ: 'JWT ' })],
  ['kid a number', withHeader({ kid: 0 })],
  ['kid null', withHeader({ kid: null })],
  ['kid an object', withHeader({ kid: { $ne: '' } })],
  ['kid an array', withHeader({ kid: ['a'] })],
  ['kid of an empty file, signed so', forge({ ...HEADER, kid: '/dev/null' }, CLAIMS, '')],
  [
    'kid as a query, signed with its answer',
    forge({ ...HEADER, kid: "' UNION SELECT 'x" }, CLAIMS, 'x'),
  ],
  ['header an array', forge([HEADER], CLAIMS)],
  ['header a string', forge('"HS256"', CLAIMS)],
  ['header null', forge('null', CLAIMS)],
  ['header a number', forge('1', CLAIMS)],
  ['header no JSON', forge('HS256', CLAIMS)],
  ['header with a comma too many', forge('{"alg":"HS256",}', CLAIMS)],
  ['header with something behind it', forge('{"alg":"HS256"} {}', CLAIMS)],
  ['header with a byte-order mark', forge('\ufeff{"alg":"HS256"}', CLAIMS)],
  [
    'header in invalid UTF-8',
    forge(Buffer.from('7b22616c67223a224853323536222c22ff223a317d', 'hex'), CLAIMS),
  ],
  ['alg only in the prototype', forge('{"__proto__":{"alg":"HS256"}}', CLAIMS)],
  // A token has one spelling.
  ['padding', `${GOOD}=`],
  ['double padding', `${GOOD}==`],
  ['padding in the header', `${GOOD_HEADER}=.${GOOD_CLAIMS}.${GOOD_SIGNATURE}`],
  ['a space before', ` ${GOOD}`],
  ['a space after', `${GOOD} `],
  ['a newline after', `${GOOD}\n`],
  ['a tab inside', `${GOOD_HEADER}.\t${GOOD_CLAIMS}.${GOOD_SIGNATURE}`],
  ['a newline inside', `${GOOD_HEADER}.${GOOD_CLAIMS}\n.${GOOD_SIGNATURE}`],
  ['a NUL after', `${GOOD}\0`],
  ['quotes around', `"${GOOD}"`],
  ['Bearer in front', `Bearer ${GOOD}`],
  ['a letter of another script', `${GOOD_HEADER}.${GOOD_CLAIMS}.${GOOD_SIGNATURE}é`],
  ['a plus sign', `${GOOD_HEADER}.${GOOD_CLAIMS}.+${GOOD_SIGNATURE.slice(1)}`],
  ['a slash', `${GOOD_HEADER}.${GOOD_CLAIMS}./${GOOD_SIGNATURE.slice(1)}`],
  ['a percent escape', GOOD.replaceAll('.', '%2e')],
  [
    'spare bits in the last character of the signature',
    GOOD.slice(0, -1) + nextDigit(GOOD.slice(-1)),
  ],
  ['a signature cut short', GOOD.slice(0, -1)],
  ['a signature with more behind it', `${GOOD}A`],
  ['a signature twice', GOOD + GOOD_SIGNATURE],
  ['one part', GOOD_HEADER],
  ['two parts', `${GOOD_HEADER}.${GOOD_CLAIMS}`],
  ['four parts', `${GOOD}.${GOOD_SIGNATURE}`],
  ['five parts, as in JWE', `${GOOD_HEADER}.${GOOD_CLAIMS}.AAAA.BBBB.${GOOD_SIGNATURE}`],
  ['a dot behind', `${GOOD}.`],
  ['a dot in front', `.${GOOD}`],
  ['nothing', ''],
  ['only dots', '..'],
  ['an empty header', `.${GOOD_CLAIMS}.${GOOD_SIGNATURE}`],
  ['an empty payload', `${GOOD_HEADER}..${GOOD_SIGNATURE}`],
  ['an empty payload, signed', `${GOOD_HEADER}..${hmac(`${GOOD_HEADER}.`, SECRET)}`],
  [
    'the JSON serialization',
    JSON.stringify({ protected: GOOD_HEADER, payload: GOOD_CLAIMS, signature: GOOD_SIGNATURE }),
  ],
  ['an API token nobody made', `hub_${'a'.repeat(32)}`],
  ['more than 4096 characters, signed', withClaims({ pad: 'x'.repeat(4000) })],
  ['one character more than 4096, signed', padded(4097)],
  ['a megabyte', `${GOOD}${'A'.repeat(1024 * 1024)}`],
  // Dates are numbers in a range.
  ['exp missing', withClaims({ exp: undefined })],
  ['exp null', withClaims({ exp: null })],
  ['exp a string', withClaims({ exp: String(NOW + 3600) })],
  ['exp a date string', withClaims({ exp: '2100-01-01T00:00:00Z' })],
  ['exp true', withClaims({ exp: true })],
  ['exp an array', withClaims({ exp: [NOW + 3600] })],
  ['exp an object', withClaims({ exp: {} })],
  ['exp 1e400', withRawClaim('exp', '1e400')],
  ['exp -1e400', withRawClaim('exp', '-1e400')],
  ['exp NaN', withRawClaim('exp', 'NaN')],
  ['exp Infinity', withRawClaim('exp', 'Infinity')],
  ['exp negative', withClaims({ exp: -1 })],
  ['exp huge', withClaims({ exp: 1e21 })],
  ['exp the largest exact number', withClaims({ exp: Number.MAX_SAFE_INTEGER })],
  ['exp one second after 9999', withClaims({ exp: 253_402_300_800 })],
  ['exp in milliseconds', withClaims({ exp: (NOW + 3600) * 1000 })],
  ['exp in hexadecimal', withRawClaim('exp', '0x7fffffff')],
  ['nbf later than the leeway', withClaims({ nbf: NOW + LEEWAY + 1 })],
  ['nbf a string', withClaims({ nbf: String(NOW) })],
  ['nbf null', withClaims({ nbf: null })],
  ['nbf negative', withClaims({ nbf: -1 })],
  ['nbf -1e400', withRawClaim('nbf', '-1e400')],
  ['iat more than five minutes ahead', withClaims({ iat: NOW + 301 })],
  ['iat five minutes and a fraction ahead', withClaims({ iat: NOW + 300.5 })],
  ['nbf a fraction later than the leeway', withClaims({ nbf: NOW + LEEWAY + 0.5 })],
  ['iat a string', withClaims({ iat: String(NOW) })],
  ['iat null', withClaims({ iat: null })],
  ['iat 1e400', withRawClaim('iat', '1e400')],
  // A token of another workspace is invalid.
  ['aud missing', withClaims({ aud: undefined })],
  ['aud null', withClaims({ aud: null })],
  ['aud of another workspace', withClaims({ aud: 'research' })],
  ['aud in capitals', withClaims({ aud: 'HOUSTON' })],
  ['aud with a capital', withClaims({ aud: 'Houston' })],
  ['aud a prefix', withClaims({ aud: 'hous' })],
  ['aud longer', withClaims({ aud: 'houston2' })],
  ['aud with a space', withClaims({ aud: 'houston ' })],
  ['aud as a host', withClaims({ aud: 'houston.hubify.com' })],
  ['aud as a URL', withClaims({ aud: 'https://houston.hubify.com' })],
  ['aud two names in one string', withClaims({ aud: 'houston research' })],
  ['aud a star', withClaims({ aud: '*' })],
  ['aud empty', withClaims({ aud: '' })],
  ['aud an empty array', withClaims({ aud: [] })],
  ['aud an array of others', withClaims({ aud: ['research', 'hubify'] })],
  ['aud an array in an array', withClaims({ aud: [['houston']] })],
  ['aud an array with a number', withClaims({ aud: ['houston', 1] })],
  ['aud an array with null', withClaims({ aud: [null, 'houston'] })],
  ['aud an object', withClaims({ aud: { 0: 'houston' } })],
  ['aud an object with includes', withClaims({ aud: { houston: true } })],
  ['aud true', withClaims({ aud: true })],
  // The subject must be a name.
  ['sub missing', withClaims({ sub: undefined })],
  ['sub null', withClaims({ sub: null })],
  ['sub empty', withClaims({ sub: '' })],
  ['sub a number', withClaims({ sub: 1 })],
  ['sub an array', withClaims({ sub: ['alice'] })],
  ['sub an object', withClaims({ sub: { name: 'alice' } })],
  ['sub with a line break', withClaims({ sub: 'alice\r\nX-Forwarded-User: root' })],
  ['sub with a NUL', withClaims({ sub: 'alice\0' })],
  ['sub with a DEL', withClaims({ sub: 'alice\x7f' })],
  ['sub with a C1 control', withClaims({ sub: 'alice\x85' })],
  ['sub with an escape sequence', withClaims({ sub: '\x1b[2Jalice' })],
  ['sub with half a character', withClaims({ sub: 'alice\ud800' })],
  ['sub of 257 characters', withClaims({ sub: 'a'.repeat(257) })],
  ['sub of a megabyte', withClaims({ sub: 'a'.repeat(1024 * 1024) })],
  // The payload is one JSON object without duplicate members.
  ['payload a string', forge(HEADER, '"alice"')],
  ['payload an array', forge(HEADER, [CLAIMS])],
  ['payload null', forge(HEADER, 'null')],
  ['payload a number', forge(HEADER, '1')],
  ['payload no JSON', forge(HEADER, 'alice')],
  ['payload cut short', forge(HEADER, JSON.stringify(CLAIMS).slice(0, -1))],
  ['payload of brackets', forge(HEADER, '['.repeat(2000))],
  ['payload of quotes', forge(HEADER, '"\\'.repeat(1000))],
  [
    'payload in invalid UTF-8',
    forge(
      HEADER,
      Buffer.concat([
        Buffer.from(JSON.stringify({ ...CLAIMS, a: '' }).slice(0, -2)),
        Buffer.from([0xff]),
        Buffer.from('"}'),
      ]),
    ),
  ],
  ['claims only in the prototype', forge(HEADER, `{"__proto__":${JSON.stringify(CLAIMS)}}`)],
  ['alg twice', forge('{"alg":"none","alg":"HS256"}', CLAIMS)],
  ['alg twice, the other way round', forge('{"alg":"HS256","alg":"none"}', CLAIMS)],
  ['alg twice, the same', forge('{"alg":"HS256","alg":"HS256"}', CLAIMS)],
  ['alg twice, once escaped', forge('{"\\u0061lg":"none","alg":"HS256"}', CLAIMS)],
  [
    'alg twice, escaped in capitals',
    forge('{"alg":"HS256","\\u0061\\u006C\\u0067":"none"}', CLAIMS),
  ],
  ['alg twice, with white space', forge('{"alg" :"HS256","alg"\n:"HS256"}', CLAIMS)],
  ['aud twice', forge(HEADER, `{"aud":"research",${JSON.stringify(CLAIMS).slice(1)}`)],
  [
    'aud twice, escaped',
    forge(HEADER, `{"\\u0061ud":"research",${JSON.stringify(CLAIMS).slice(1)}`),
  ],
  ['exp twice', forge(HEADER, `${JSON.stringify(CLAIMS).slice(0, -1)},"exp":${NOW + 7200}}`)],
  [
    'sub twice, behind a nested object',
    forge(HEADER, `{"sub":"root","a":{"b":["}"]},${JSON.stringify(CLAIMS).slice(1)}`),
  ],
  ['a claim of no meaning twice', forge(HEADER, `{"":1,"":2,${JSON.stringify(CLAIMS).slice(1)}`)],
  // Only a key of the ring signs.
  ['another secret', forge(HEADER, CLAIMS, OTHER_SECRET)],
  ['an empty secret', forge(HEADER, CLAIMS, '')],
  ['the workspace’s name as the secret', forge(HEADER, CLAIMS, 'houston')],
  ['the secret in capitals', forge(HEADER, CLAIMS, SECRET.toUpperCase())],
  ['the secret with a newline', forge(HEADER, CLAIMS, `${SECRET}\n`)],
  ['the secret in base64', forge(HEADER, CLAIMS, Buffer.from(SECRET).toString('base64'))],
  ['the secret cut short', forge(HEADER, CLAIMS, SECRET.slice(0, -1))],
  [
    'a signature of another token',
    `${GOOD_HEADER}.${part({ ...CLAIMS, sub: 'root' })}.${GOOD_SIGNATURE}`,
  ],
  [
    'a signature over the payload alone',
    `${GOOD_HEADER}.${GOOD_CLAIMS}.${hmac(GOOD_CLAIMS, SECRET)}`,
  ],
  ['a signature of zeros', `${GOOD_HEADER}.${GOOD_CLAIMS}.${'A'.repeat(43)}`],
  [
    'expired and signed by somebody else',
    forge(HEADER, { ...CLAIMS, exp: NOW - 9000 }, OTHER_SECRET),
  ],
  ['expired and meant for another workspace', withClaims({ exp: NOW - 9000, aud: 'research' })],
]

t.test('a forged, damaged or foreign token is invalid', async (t) => {
  t.ok(FORGED.length >= 120, `${FORGED.length} of them`)
  t.equal(new Set(FORGED.map(([name]) => name)).size, FORGED.length)
  for (const [name, token] of FORGED) t.equal(await verdict(token), 'token-invalid', name)
})

t.test('what a header says does not depend on the token before', async (t) => {
  const tokens = [
    GOOD,
    withHeader({ kid: 'one' }),
    withHeader({ kid: 'two' }),
    forge({ alg: 'HS256' }, CLAIMS),
    ...FORGED.map(([, token]) => token),
  ]
  for (const token of tokens) {
    const verdicts = tokens.flatMap((before) => {
      headerOf(before)
      return [headerOf(token), headerOf(token)]
    })
    const [first] = verdicts
    if (verdicts.some((one) => one !== first)) t.fail(token)
  }
  t.equal(headerOf(withHeader({ kid: 'one' })), 'kid one')
})

/** The key that a header names, or the reason why it is refused. */
function headerOf(token: string): string {
  try {
    return `kid ${readHeader(token)}`
  } catch (error) {
    return error instanceof GatewayError ? `${error.reason}` : String(error)
  }
}

t.test('a token is valid in every form that the contract allows', async (t) => {
  const accepted: ReadonlyArray<readonly [string, string]> = [
    ['as usual', GOOD],
    ['without typ', forge({ alg: 'HS256' }, CLAIMS)],
    ['typ in lower case', withHeader({ typ: 'jwt' })],
    ['with a kid', withHeader({ kid: '2026-07' })],
    ['with a header field that nobody knows', withHeader({ note: { alg: 'none' } })],
    ['aud one of several', withClaims({ aud: ['research', 'houston'] })],
    ['aud alone in an array', withClaims({ aud: ['houston'] })],
    [
      'with nbf, iat, jti, amr and auth_time',
      withClaims({ nbf: NOW, iat: NOW, jti: 'a', amr: ['pwd'], auth_time: NOW }),
    ],
    ['nbf within the leeway', withClaims({ nbf: NOW + LEEWAY })],
    ['iat five minutes ahead, whatever the leeway', withClaims({ iat: NOW + 300 })],
    ['exp with a fraction', withClaims({ exp: NOW + 3600.5 })],
    ['nbf with a fraction', withClaims({ nbf: NOW - 0.5 })],
    ['iat with a fraction', withClaims({ iat: NOW + 299.5 })],
    ['any issuer, when none is configured', withClaims({ iss: 'https://somewhere.example' })],
    ['exp 7 seconds ago, within the leeway', withClaims({ exp: NOW - 7 })],
    ['exp in the last second of the leeway', withClaims({ exp: NOW - LEEWAY + 1 })],
    [
      'the same member in nested objects',
      forge(HEADER, { ...CLAIMS, a: { x: 1 }, b: { x: 2 }, c: [{ x: 3 }, { x: 4 }] }),
    ],
    [
      'a nested object that repeats itself',
      forge(HEADER, `${JSON.stringify(CLAIMS).slice(0, -1)},"a":{"x":1,"x":2}}`),
    ],
    ['a value that is called as a member is', withClaims({ jti: 'sub', note: '"sub":' })],
    [
      'white space in the JSON',
      forge(JSON.stringify(HEADER, null, 2), JSON.stringify(CLAIMS, null, 2)),
    ],
    ['exp in the last second of 9999', withClaims({ exp: 253_402_300_799 })],
    ['header fields that only resemble forbidden ones', withHeader({ 'my-jwk': 1, encoding: 1 })],
    ['4096 characters', padded(MAX_TOKEN_LENGTH)],
  ]
  for (const [name, token] of accepted) t.equal(await verdict(token), 'alice', name)
  for (const name of ['a'.repeat(256), 'alice@example.com', 'Zoë 🦊', 'a,b', '日本'])
    t.equal(await verdict(withClaims({ sub: name })), name)
})

/** Makes a valid token of a given length. */
function padded(length: number): string {
  for (let pad = 0; ; pad++) {
    const token = withClaims({ pad: 'x'.repeat(Math.max(0, (length - 200) * 0.7) + pad) })
    if (token.length >= length) return token
  }
}

t.test(
  'a token after its expiry is reported as expired, but only if its signature is valid',
  async (t) => {
    for (const exp of [0, NOW - 86_400, NOW - LEEWAY - 1, NOW - LEEWAY])
      t.equal(await verdict(withClaims({ exp })), 'token-expired', `exp ${exp - NOW}`)
    const strict = verifier({ rules: { ...RULES, leewaySeconds: 0 } })
    t.equal(await verdict(withClaims({ exp: NOW }), strict), 'token-expired')
    t.equal(await verdict(withClaims({ exp: NOW + 1 }), strict), 'alice')
    t.equal(await verdict(withClaims({ nbf: NOW + 1 }), strict), 'token-invalid')
  },
)

t.test('the issuer is checked when one is configured', async (t) => {
  const strict = () => verifier({ rules: { ...RULES, issuer: 'https://hubify.com' } })
  t.equal(await verdict(withClaims({ iss: 'https://hubify.com' }), strict()), 'alice')
  for (const iss of [
    undefined,
    null,
    '',
    'https://hubify.com/',
    'https://HUBIFY.com',
    'hubify.com',
    ['https://hubify.com'],
    { 'https://hubify.com': 1 },
    1,
  ])
    t.equal(await verdict(withClaims({ iss }), strict()), 'token-invalid', inspect(iss))
})

t.test('a token with any one character changed is invalid', async (t) => {
  const subject = verifier()
  const alphabet = fc.oneof(fc.stringMatching(/^[A-Za-z0-9_=+/. \t-]$/), anyText(1))
  await fc.assert(
    fc.asyncProperty(fc.nat(GOOD.length - 1), alphabet, async (at, char) => {
      fc.pre(GOOD[at] !== char)
      return (
        (await verdict(GOOD.slice(0, at) + char + GOOD.slice(at + 1), subject)) === 'token-invalid'
      )
    }),
    { numRuns: 500 },
  )
  for (let at = 0; at < GOOD.length; at++) {
    const changed = GOOD.slice(0, at) + nextDigit(GOOD[at] ?? '') + GOOD.slice(at + 1)
    if (changed !== GOOD && (await verdict(changed, subject)) !== 'token-invalid')
      t.fail(`character ${at} can be changed`)
  }
  for (let length = 0; length < GOOD.length; length += 7)
    t.equal(await verdict(GOOD.slice(0, length), subject), 'token-invalid')
})

t.test('any text and any JSON as a token is refused, without another error', async () => {
  const subject = verifier()
  const json = fc.json({ maxDepth: 3 })
  await fc.assert(
    fc.asyncProperty(json, json, async (header, claims) => {
      const code = await verdict(forge(header, claims), subject)
      return code === 'token-invalid'
    }),
    { numRuns: 300 },
  )
  await fc.assert(
    fc.asyncProperty(anyText(), async (text) => {
      return (await verdict(text, subject)) === 'token-invalid'
    }),
    { numRuns: 300 },
  )
})

t.test('the error of a refusal contains no token, no claim and no secret', async (t) => {
  for (const [name, token] of FORGED) {
    if (token.length < 20) continue
    const error: unknown = await verifier()
      .verify(token)
      .catch((reason: unknown) => reason)
    const text = inspect(error, { depth: 20, maxStringLength: null, showHidden: true })
    for (const hidden of [token, token.slice(0, 40), SECRET, OTHER_SECRET, GOOD_SIGNATURE, '"alg"'])
      if (text.includes(hidden)) t.fail(`${name}: the error holds ${hidden.slice(0, 50)}`)
    if (error instanceof GatewayError) t.ok((error.reason ?? '').length < 60)
  }
})

t.test(
  'the form of our credentials is distinguished from the credentials of a service',
  async (t) => {
    for (const ours of [GOOD, 'a.b.c', 'a.b.', `hub_${'x'.repeat(32)}`, 'hub_', unsigned('none')])
      t.ok(isTokenShaped(ours), ours)
    for (const foreign of [
      '',
      'abc',
      'a.b',
      'a.b.c.d',
      'HUB_x',
      'mirrorhub_x',
      'sk-1234',
      '.b.c',
      'a..c',
      `${GOOD}=`,
    ])
      t.notOk(isTokenShaped(foreign), foreign)
  },
)
