/** Which credential of a request decides? */
import t from 'tap'
import { bearerToken, findCredential, type CredentialKind } from '../../src/identity/credentials.ts'

const JWT = 'eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln'
const API = `hub_${'a'.repeat(32)}`
const COOKIE = `__Host-workspace_session=${JWT}`

type Line = readonly [name: string, value: string]

t.test('the first credential that is present decides alone, also when it is invalid', async (t) => {
  const table: ReadonlyArray<
    readonly [
      lines: readonly Line[],
      kind: string | undefined,
      token: string | undefined,
      why: string,
    ]
  > = [
    [[], undefined, undefined, 'nothing'],
    [[['X-Workspace-Token', JWT]], 'header', JWT, 'the field for programs'],
    [[['x-workspace-token', ` ${JWT}\t`]], 'header', JWT, 'white space is no part of it'],
    [[['X-Workspace-Token', '']], 'header', '', 'present, and bad'],
    [
      [
        ['X-Workspace-Token', 'rubbish'],
        ['Authorization', `Bearer ${JWT}`],
        ['Cookie', COOKIE],
      ],
      'header',
      'rubbish',
      'even when it is bad',
    ],
    [[['Authorization', `Bearer ${JWT}`]], 'bearer', JWT, 'a JWT'],
    [[['authorization', `bearer ${JWT}`]], 'bearer', JWT, 'the scheme in lower case'],
    [[['AUTHORIZATION', `BEARER   ${JWT}`]], 'bearer', JWT, 'several spaces'],
    [[['Authorization', `Bearer\t${JWT}`]], 'bearer', JWT, 'a tab'],
    [[['Authorization', `Bearer ${API}`]], 'bearer', API, 'an API token'],
    [[['Authorization', 'Bearer hub_']], 'bearer', 'hub_', 'an API token in form'],
    [
      [['Authorization', 'Bearer a.b.']],
      'bearer',
      'a.b.',
      'a JWS without a signature is ours to refuse',
    ],
    [
      [
        ['Authorization', `Bearer ${JWT}`],
        ['Cookie', COOKIE],
      ],
      'bearer',
      JWT,
      'before the cookie',
    ],
    [
      [
        ['Cookie', COOKIE],
        ['Authorization', 'Bearer hub_x'],
      ],
      'bearer',
      'hub_x',
      'in any order, even when it is bad',
    ],
    [
      [
        ['Authorization', 'Basic dTpw'],
        ['Cookie', COOKIE],
      ],
      'cookie',
      JWT,
      'Basic is ttyd’s',
    ],
    [
      [
        ['Authorization', 'Bearer service'],
        ['Cookie', COOKIE],
      ],
      'cookie',
      JWT,
      'a foreign Bearer is OpenClaw’s',
    ],
    [[['Authorization', 'Bearer service']], undefined, undefined, 'and opens no door'],
    [[['Authorization', 'Basic dTpw']], undefined, undefined, 'nor does Basic'],
    [[['Authorization', `Basic ${JWT}`]], undefined, undefined, 'not even with a token in it'],
    [[['Authorization', JWT]], undefined, undefined, 'a token without a scheme'],
    [[['Authorization', `Token ${JWT}`]], undefined, undefined, 'another scheme'],
    [[['Authorization', `Bearer ${JWT} x`]], undefined, undefined, 'more than a token'],
    [[['Authorization', `Bearer`]], undefined, undefined, 'a scheme without a token'],
    [[['Authorization', '']], undefined, undefined, 'an empty field'],
    [[['Cookie', COOKIE]], 'cookie', JWT, 'the cookie'],
    [[['Cookie', `a=b; ${COOKIE}; c=d`]], 'cookie', JWT, 'among others'],
    [
      [
        ['Cookie', 'a=b'],
        ['cookie', COOKIE],
      ],
      'cookie',
      JWT,
      'on a second line',
    ],
    [[['Cookie', '__Host-workspace_session=']], undefined, undefined, 'an empty cookie is nobody'],
    [
      [['Cookie', `workspace_session=${JWT}`]],
      undefined,
      undefined,
      'the loopback cookie is not for https',
    ],
    [
      [['Cookie', `__host-workspace_session=${JWT}`]],
      undefined,
      undefined,
      'cookie names are compared exactly',
    ],
    [
      [
        ['X-Token', JWT],
        ['X-Api-Key', API],
      ],
      undefined,
      undefined,
      'no other field is read',
    ],
  ]
  for (const [lines, kind, token, why] of table) {
    const found = findCredential(lines.flat(), true)
    t.same(found, kind === undefined ? undefined : { kind, token }, why)
  }
})

t.test('over plain http on a loopback host the session cookie has no prefix', async (t) => {
  t.same(findCredential(['Cookie', `workspace_session=${JWT}; a=b`], false), {
    kind: 'cookie',
    token: JWT,
  })
  t.equal(findCredential(['Cookie', COOKIE], false), undefined)
})

t.test('a request with two credentials of a kind is ambiguous', async (t) => {
  const twice: ReadonlyArray<readonly [lines: readonly Line[], kind: CredentialKind]> = [
    [
      [
        ['X-Workspace-Token', JWT],
        ['x-workspace-token', JWT],
      ],
      'header',
    ],
    [
      [
        ['Authorization', `Bearer ${JWT}`],
        ['Authorization', `Bearer ${JWT}`],
      ],
      'bearer',
    ],
    [
      [
        ['Authorization', 'Basic dTpw'],
        ['authorization', `Bearer ${JWT}`],
      ],
      'bearer',
    ],
    [
      [
        ['X-Workspace-Token', JWT],
        ['Authorization', 'a'],
        ['Authorization', 'b'],
      ],
      'bearer',
    ],
    [[['Cookie', `${COOKIE}; ${COOKIE}`]], 'cookie'],
    [
      [
        ['Cookie', COOKIE],
        ['Cookie', '__Host-workspace_session=evil'],
      ],
      'cookie',
    ],
    [[['Cookie', `__Host-workspace_session=; ${COOKIE}`]], 'cookie'],
  ]
  for (const [lines, kind] of twice) {
    const found = findCredential(lines.flat(), true)
    t.match(found, { kind, reason: /twice/ })
    t.notOk(JSON.stringify(found).includes('eyJ'))
  }
})

t.test('a token is read from the scheme Bearer, and from no other scheme', async (t) => {
  const table: ReadonlyArray<readonly [value: string | undefined, token: string | undefined]> = [
    ['Bearer abc', 'abc'],
    ['bEARER  a!b', 'a!b'],
    ['Bearer', undefined],
    ['Bearer ', undefined],
    ['Bearerabc', undefined],
    [' Bearer abc', undefined],
    ['Bearer a b', undefined],
    ['Bearer a\u00e9', undefined],
    ['Basic abc', undefined],
    ['', undefined],
    [undefined, undefined],
  ]
  for (const [value, token] of table) t.equal(bearerToken(value), token, value ?? '')
})
