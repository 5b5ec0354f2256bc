/** Is the session cookie recognized exactly and kept from services, and does every other cookie pass unchanged? */
import * as fc from 'fast-check'
import t from 'tap'
import {
  cookieValues,
  expiredSessionCookies,
  expiredPlantedSignInCookie,
  LOOPBACK_SESSION_COOKIE,
  LOOPBACK_SIGN_IN_COOKIE,
  sanitizeSetCookie,
  SECURE_SESSION_COOKIE,
  SECURE_SIGN_IN_COOKIE,
  sessionCookie,
  signInCookie,
  withoutOwnCookies,
} from '../../src/http/cookies.ts'
import { cpuMs, LINEAR_MS } from '../helpers/cpu-time.ts'

const S = SECURE_SESSION_COOKIE
const L = LOOPBACK_SESSION_COOKIE

/** Bytes as Node provides them: one character per byte. */
const wire = (text: string) => Buffer.from(text).toString('latin1')

/** White space and invisible characters that some parsers trim from a name. */
const ODD_SPACES = [
  '\xa0',
  '\v',
  '\f',
  '\x1c',
  '\x85',
  ...[
    ...['\u0085', '\u00a0', '\u1680', '\u180e', '\u2000', '\u2001', '\u2002', '\u2003', '\u2004'],
    ...['\u2005', '\u2006', '\u2007', '\u2008', '\u2009', '\u200a', '\u200b', '\u2028', '\u2029'],
    ...['\u202f', '\u205f', '\u2060', '\u3000', '\ufeff'],
  ].map(wire),
]

t.test('a cookie is found by its exact name, once for each time that it was sent', async (t) => {
  const rows: ReadonlyArray<
    readonly [lines: readonly string[], expected: readonly string[], why: string]
  > = [
    [[], [], 'no cookies'],
    [[''], [], 'an empty line'],
    [[`${S}=a`], ['a'], 'alone'],
    [[`${S}=a.b-c_d`], ['a.b-c_d'], 'a token'],
    [[`x=1; ${S}=a; y=2`], ['a'], 'among others'],
    [[`x=1;${S}=a;y=2`], ['a'], 'without spaces'],
    [[`\t${S}\t =\t a \t`], ['a'], 'optional white space'],
    [[`;;;${S}=a;;`], ['a'], 'empty pairs'],
    [[`${S}=`], [''], 'an empty value'],
    [[`${S}=a=b==`], ['a=b=='], 'equals signs belong to the value'],
    [[`${S}="a"`], ['"a"'], 'quotes belong to the value'],
    [[`${S}=a%20b`], ['a%20b'], 'nothing is decoded'],
    [[`${S}=a b`], ['a b'], 'a space inside the value'],
    [[`${S}=a,b`], ['a,b'], 'a comma separates nothing'],
    [[`${S}=a; ${S}=b`], ['a', 'b'], 'twice in one line'],
    [[`${S}=a; ${S}=a`], ['a', 'a'], 'the same twice'],
    [[`${S}=a`, `${S}=b`], ['a', 'b'], 'twice on two lines'],
    [[`${S}=a; x=1`, 'y=2', `z=3; ${S}=b`, `${S}=`], ['a', 'b', ''], 'three times'],
    [[`${S}=; ${S}=a`], ['', 'a'], 'an empty one shadows nothing'],
    [[S], [], 'no equals sign'],
    [[`=${S}=a`], [], 'no name'],
    [[`=${S}`], [], 'no name'],
    [[`x=${S}=a`], [], 'another cookie’s value'],
    [[`x=1,${S}=a`], [], 'behind a comma'],
    [[`x=1 ${S}=a`], [], 'behind a space'],
    [[`x="1; ${S}=a"`], ['a"'], 'quotes hide no semicolon'],
    [[`$Version=1; ${S}=a; $Path=/`], ['a'], 'RFC 2965 attributes are cookies like others'],
    [[`$Version="1"; ${S}="a"`], ['"a"'], 'they switch no parser'],
    [[`${L}=a`], [], 'the other name of ours'],
    [[`${S.toLowerCase()}=a`], [], 'lower case'],
    [[`${S.toUpperCase()}=a`], [], 'upper case'],
    [[`__host-${L}=a`], [], 'a prefix in lower case'],
    [[`__HOST-${L}=a`], [], 'a prefix in upper case'],
    [[`__Secure-${L}=a`], [], 'another prefix'],
    [[`${S}x=a`], [], 'a longer name'],
    [[`x${S}=a`], [], 'a longer name'],
    [[`${S.slice(0, -1)}=a`], [], 'a shorter name'],
    [[`${S}[0]=a`], [], 'an array to PHP'],
    [[`"${S}"=a`], [], 'a quoted name'],
    [[`'${S}'=a`], [], 'a quoted name'],
    [[`${S.replace('_', '%5F')}=a`], [], 'an encoded name'],
    [[`${S.replace('_s', '.s')}=a`], [], 'a dot is no underscore'],
    [[`${S} x=a`], [], 'a space inside the name'],
    [[`${S}:a`], [], 'a colon'],
    ...ODD_SPACES.flatMap((space): Array<[string[], string[], string]> => [
      [[`${space}${S}=a`], [], 'odd white space before'],
      [[`${S}${space}=a`], [], 'odd white space after'],
      [[`x=1; ${space}${S}=a; ${S}=b`], ['b'], 'odd white space shadows nothing'],
    ]),
  ]
  const wrong = rows.filter(
    ([lines, expected]) => cookieValues(lines, S).join() !== expected.join(),
  )
  t.same(wrong, [], `${rows.length} rows`)
  t.same(cookieValues([`${S}=a; ${L}=b`], L), ['b'], 'the loopback name is not the prefixed one')
})

const SPELLINGS = [S, L, SECURE_SIGN_IN_COOKIE, LOOPBACK_SIGN_IN_COOKIE].flatMap(spellingsOf)

function spellingsOf(name: string): string[] {
  return [
    name,
    name.toUpperCase(),
    name.toLowerCase(),
    name.replace('workspace', 'WorkSpace'),
    ` ${name}`,
    `\t ${name} \t`,
    `"${name}"`,
    `"${name}`,
    `=${name}`,
    `==${name}`,
    ` = ${name}`,
    `,${name}`,
    `(${name})`,
    `\x01${name}`,
    ...ODD_SPACES.flatMap((space) => [space + name, name + space, ` ${space} ${name} ${space} `]),
  ]
}

t.test('no service receives a cookie of the gateway, in any spelling', async (t) => {
  const tests = SPELLINGS.flatMap((name) =>
    [`${name}=secret`, name, `${name}=`, `${name} ="secret"`].map((pair) => [name, pair] as const),
  )
  t.ok(tests.length >= 200, `${tests.length} pairs`)
  const seen = tests.filter(
    ([, pair]) =>
      withoutOwnCookies(pair) !== undefined ||
      withoutOwnCookies(`a=1;${pair}; b=2`) !== 'a=1; b=2' ||
      withoutOwnCookies(`${pair};a=1`) !== 'a=1' ||
      withoutOwnCookies(`a=1;${pair}`) !== 'a=1' ||
      withoutOwnCookies(`${pair};${pair};${pair}`) !== undefined,
  )
  t.same(seen, [])
})

t.test(
  'every cookie that is accepted as the session cookie is removed before a service',
  async () => {
    const piece = fc.constantFrom(
      ...[S, L, S.toLowerCase(), 'x', '=', ';', '; ', ' ', '\t', '"', ',', '$Version', '\xa0', 'é'],
    )
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 10 }), (pieces) => {
        const rest = withoutOwnCookies(pieces.join(''))
        return [S, L].every(
          (name) => cookieValues(rest === undefined ? [] : [rest], name).length === 0,
        )
      }),
      { seed: 20_260_107, numRuns: 5000 },
    )
  },
)

t.test('all other cookies reach the service byte for byte', async (t) => {
  const others = [
    'a=1',
    'a=',
    'a',
    '=a',
    'a=1; b=2',
    'a=1;b=2;;c',
    ' a=1 ; b = 2 ',
    'a="1; 2"; b',
    'a=%3B; b=é\xff',
    '__Host-next-auth.csrf-token=x%7Cy',
    '__Secure-session=1',
    '__Host-session=1',
    'workspace=1; session=2',
    'workspace-session=1',
    'workspacesession=1',
    `my_${L}=1`,
    `${L}_id=1`,
    `x-${L}=1`,
    `${L}.sig=1`,
    `${L}2=1`,
    `$${L}=1`,
    `${S}s=1`,
    `x${S}=1`,
    `__Secure-${L}=1`,
    'workspace_signin_id=1',
    'workspace_sign=1',
    'xworkspace_signin=1',
    `a=${S}`,
    `a=${S}=1`,
    `a=1,${S}=2`,
    `a b ${S}=2`,
    `${L} x=1`,
    '$Version=1; a=b; $Path=/',
  ]
  t.same(
    others.filter((line) => withoutOwnCookies(line) !== line),
    [],
  )
  const mixed = others.filter((line) => {
    const rest = line.replace(/^[ \t]+|[ \t]+$/g, '')
    return (
      withoutOwnCookies(`${S}=x; ${line}`) !== rest ||
      withoutOwnCookies(`${line}; ${S}=x`) !== rest ||
      withoutOwnCookies(`${L}=y;${line};${S}=x`) !== rest
    )
  })
  t.same(mixed, [], 'beside ours, too')
})

t.test(
  'a service can neither set a cookie of the gateway nor a cookie for the whole domain',
  async (t) => {
    const rows: ReadonlyArray<readonly [value: string, expected: string | undefined, why: string]> =
      [
        ['a=1', 'a=1', 'a cookie of its own'],
        [
          'a=1; Path=/; HttpOnly; Secure; SameSite=Lax',
          'a=1; Path=/; HttpOnly; Secure; SameSite=Lax',
          'with attributes',
        ],
        [
          'a=1; Expires=Thu, 01 Jan 1970 00:00:00 GMT',
          'a=1; Expires=Thu, 01 Jan 1970 00:00:00 GMT',
          'with a comma',
        ],
        ['a="x y"; Path=/', 'a="x y"; Path=/', 'quotes'],
        ['a=1;Path=/;;', 'a=1;Path=/;;', 'empty attributes'],
        ['', '', 'nothing'],
        ['a', 'a', 'no name'],
        ['a=1; Domain=hubify.com', 'a=1', 'the parent domain'],
        ['a=1; Domain=.hubify.com; Path=/', 'a=1; Path=/', 'with a dot'],
        ['a=1; domain=hubify.com', 'a=1', 'lower case'],
        ['a=1; DOMAIN=hubify.com', 'a=1', 'upper case'],
        ['a=1;Domain=hubify.com;Secure', 'a=1;Secure', 'no spaces'],
        ['a=1; \tDomain \t= hubify.com', 'a=1', 'white space'],
        ['a=1; \xa0Domain\xa0=hubify.com', 'a=1', 'odd white space'],
        ['a=1; Domain', 'a=1', 'no value'],
        ['a=1; Domain=', 'a=1', 'an empty value'],
        ['a=1; Domain=a=b', 'a=1', 'equals signs'],
        ['a=1; Domain="hubify.com"', 'a=1', 'quotes'],
        ['a=1; Domain=a; Path=/; domain=b', 'a=1; Path=/', 'twice'],
        ['Domain=hubify.com', 'Domain=hubify.com', 'a cookie that is called Domain'],
        ['domain=1; Domain=hubify.com', 'domain=1', 'both'],
        ['a=Domain=hubify.com', 'a=Domain=hubify.com', 'a value'],
        ['a=1; X-Domain=x; Domains=y', 'a=1; X-Domain=x; Domains=y', 'other attributes'],
        ['__Host-a=1; Path=/; Secure', '__Host-a=1; Path=/; Secure', 'another prefixed cookie'],
        [`a=1; ${S}=x`, `a=1; ${S}=x`, 'an attribute that no browser knows'],
        [`a=${S}=x`, `a=${S}=x`, 'a value'],
        [`x${S}=1`, `x${S}=1`, 'a longer name'],
        [`${L}_id=1`, `${L}_id=1`, 'a longer name'],
        ...SPELLINGS.flatMap((name): Array<[string, undefined, string]> => [
          [`${name}=x`, undefined, 'ours'],
          [`${name}=x; Path=/; Domain=hubify.com`, undefined, 'ours with attributes'],
          [`${name}=; Max-Age=0`, undefined, 'ours, expired'],
          [`${name}; Path=/`, undefined, 'ours as a bare value'],
        ]),
      ]
    t.ok(rows.length >= 200, `${rows.length} rows`)
    t.same(
      rows.filter(([value, expected]) => sanitizeSetCookie(value) !== expected),
      [],
    )
  },
)

t.test('a cookie of an isolated service stays below its prefix', async (t) => {
  const rows: ReadonlyArray<readonly [value: string, expected: string | undefined]> = [
    ['a=1', 'a=1; Path=/api'],
    ['a=1; Path=/', 'a=1; Path=/api'],
    ['a=1; Path=/; HttpOnly; Secure', 'a=1; Path=/api; HttpOnly; Secure'],
    ['a=1; path=/x', 'a=1; Path=/api/x'],
    ['a=1;PATH = /', 'a=1; Path=/api'],
    ['a=1;\t pAtH\t=\t/terminal', 'a=1; Path=/api/terminal'],
    ['a=1; \xa0Path\xa0=/', 'a=1; Path=/api'],
    ['a=1; Path', 'a=1; Path=/api'],
    ['a=1; Path=', 'a=1; Path=/api'],
    ['a=1; Path="/"', 'a=1; Path=/api'],
    ['a=1; Path=x', 'a=1; Path=/api'],
    ['a=1; Path=/api', 'a=1; Path=/api'],
    ['a=1; Path=/api/', 'a=1; Path=/api/'],
    ['a=1; Path=/api/v1', 'a=1; Path=/api/v1'],
    ['a=1; Path=/apix', 'a=1; Path=/api/apix'],
    ['a=1; Path=/API', 'a=1; Path=/api/API'],
    ['a=1; Path=/api; Path=/', 'a=1; Path=/api'],
    ['a=1; Path=/; Path=/api/v1', 'a=1; Path=/api/v1'],
    ['a=1; Domain=hubify.com; Path=/', 'a=1; Path=/api'],
    ['a=1; Max-Age=0; Path=/', 'a=1; Path=/api; Max-Age=0'],
    ['__Secure-a=1; Secure; Path=/', '__Secure-a=1; Path=/api; Secure'],
    ['__Host-a=1; Secure; Path=/', undefined],
    ['__HOST-a=1; Secure; Path=/', undefined],
    [' __host-a=1; Path=/', undefined],
    ['=__Host-a=1; Path=/', undefined],
    ['__Host-Http-a=1; Path=/', undefined],
    ['x__Host-a=1', 'x__Host-a=1; Path=/api'],
    [`${S}=x; Path=/api`, undefined],
    [`${L}=x`, undefined],
  ]
  for (const [value, expected] of rows) t.equal(sanitizeSetCookie(value, '/api'), expected, value)
})

t.test(
  'no cookie of an isolated service gets a path so long that browsers ignore it',
  async (t) => {
    // Browsers ignore an attribute of more than 1,024 bytes and derive the path from the request's: `/` for `/api`.
    for (const [path, expected] of [
      [`/api/${'a'.repeat(1019)}`, '/api'],
      [`/api/${'a'.repeat(1015)}`, `/api/${'a'.repeat(1015)}`],
      [`/${'a'.repeat(1019)}`, `/api/${'a'.repeat(1019)}`],
      [`/${'a'.repeat(1020)}`, '/api'],
      [`/${'a'.repeat(8000)}`, '/api'],
    ] as const) {
      const safe = sanitizeSetCookie(`a=1; Path=${path}`, '/api')
      t.equal(safe, `a=1; Path=${expected}`)
      t.ok(expected.length <= 1024)
    }
    const many = '; x=y'.repeat(50)
    t.equal(sanitizeSetCookie(`a=1${many}; Path=/`, '/api'), `a=1; Path=/api${many}`, 'comes first')
  },
)

t.test('the session cookie is as strict as browsers allow', async (t) => {
  t.equal(
    sessionCookie(true, 'a.b.c', 60),
    '__Host-workspace_session=a.b.c; Max-Age=60; Path=/; HttpOnly; SameSite=Lax; Secure',
  )
  t.equal(
    sessionCookie(false, 'a.b.c', 60),
    'workspace_session=a.b.c; Max-Age=60; Path=/; HttpOnly; SameSite=Lax',
  )
})

t.test(
  'the session cookie’s Max-Age is whole, never negative and at most what browsers allow',
  async (t) => {
    const rows: ReadonlyArray<readonly [seconds: number, expected: string]> = [
      [0, '0'],
      [0.9, '0'],
      [-5, '0'],
      [59.999, '59'],
      [86_400, '86400'],
      [1e12, '34560000'],
      [1e30, '34560000'],
      [Infinity, '34560000'],
    ]
    for (const [seconds, expected] of rows)
      t.equal(
        /Max-Age=([^;]*)/.exec(sessionCookie(true, 'x', seconds) ?? '')?.[1],
        expected,
        String(seconds),
      )
  },
)

t.test('a session cookie is never longer than browsers store', async (t) => {
  for (const secure of [true, false]) {
    const rest = (sessionCookie(secure, '', 3600) ?? '').length
    t.equal(sessionCookie(secure, 'x'.repeat(4096 - rest), 3600)?.length, 4096)
    t.equal(sessionCookie(secure, 'x'.repeat(4097 - rest), 3600), undefined)
  }
})

t.test('a session cookie is expired under the same name, path and flags', async (t) => {
  t.same(expiredSessionCookies(true), [
    '__Host-workspace_session=; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Path=/; HttpOnly; SameSite=Lax; Secure',
  ])
  t.match(expiredSessionCookies(false), [/^workspace_session=; Max-Age=0; .*; Path=\/;/])
})

t.test(
  'the cookie of a browser that is away to sign in comes back with a form of another site',
  async (t) => {
    t.equal(
      signInCookie(true, 'x'),
      '__Host-workspace_signin=x; Max-Age=600; Path=/; HttpOnly; SameSite=None; Secure',
    )
    t.equal(
      signInCookie(false, 'x'),
      'workspace_signin=x; Max-Age=600; Path=/; HttpOnly; SameSite=Lax',
    )
    t.equal(
      expiredPlantedSignInCookie(false, 'hubify.com'),
      'workspace_signin=; Max-Age=0; Domain=hubify.com; Path=/; HttpOnly; SameSite=Lax',
    )
  },
)

t.test('16 KiB of hostile cookies are parsed in linear time', async (t) => {
  const units = [
    ';',
    '=',
    ' ',
    '"',
    S,
    `${S}=`,
    `${S}=;`,
    `${S} `,
    '\xa0',
    'a=1;',
    `${L};`,
    'workspace_signin;',
    '__host-',
  ]
  for (const unit of units) {
    const line = unit.repeat(Math.floor((16 * 1024) / unit.length))
    const cost = cpuMs(() => {
      for (const text of [line, `${line}${S}=x`, `${S}${line}x`]) {
        cookieValues([text], S)
        withoutOwnCookies(text)
        sanitizeSetCookie(text)
      }
    })
    t.ok(cost < LINEAR_MS, JSON.stringify(unit))
  }
})
