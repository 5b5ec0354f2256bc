/** Are policies read as their writer means them, and does each mistake say where it is and what is taken? */
import { execFileSync } from 'node:child_process'
import { chmodSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import * as fc from 'fast-check'
import t, { type Test } from 'tap'
import { ConfigError } from '../../src/config/load.ts'
import { readLimitPolicies } from '../../src/config/limit-policy-file.ts'
import { policiesOf } from '../../src/config/limit-policy-yaml.ts'
import type { LimitPolicy } from '../../src/config/limit-policies.ts'
import { temporaryFolder } from '../helpers/process.ts'

const PROVISION = {
  name: 'provision',
  windows: [
    { points: 1, seconds: 3600 },
    { points: 3, seconds: 86_400 },
  ],
  storeAway: 'refuse',
} as const

/** What the file says, or its problems. */
function read(content: string | Uint8Array): readonly LimitPolicy[] | readonly string[] {
  try {
    return policiesOf(typeof content === 'string' ? Buffer.from(content) : content, 'FILE')
  } catch (error) {
    if (error instanceof ConfigError) return error.problems
    throw error
  }
}

/** The problems of a file, without its name. None when it is taken. */
function problemsOf(content: string | Uint8Array): readonly string[] {
  return read(content).map((one) =>
    typeof one === 'string' ? one.replace(/^FILE:? /, '') : `taken: ${JSON.stringify(one)}`,
  )
}

/** A policy with these windows, in one line. */
const withWindows = (...windows: ReadonlyArray<readonly [points: string, window: string]>) =>
  `policies: [{name: a, windows: [${windows
    .map(([points, window]) => `{points: ${points}, window: ${window}}`)
    .join(', ')}]}]`

/** Writes a file of policies. */
function fileWith(t: Test, content: string): string {
  const path = join(temporaryFolder(t), 'limits.yaml')
  writeFileSync(path, content)
  return path
}

t.test('without a file there is the built-in policy alone', async (t) => {
  t.same([...(await readLimitPolicies(undefined))], [['provision', PROVISION]])
})

t.test('a file adds policies, and may have another one called provision', async (t) => {
  const signUp = `policies:
  - name: sign-up
    store-away: allow # when nobody counts
    windows:
      - points: 20
        window: 86400
      - points: 5
        window: 3600
  - {name: b, windows: [{points: 1, window: 1}], store-away: refuse}
`
  const added = [
    {
      name: 'sign-up',
      storeAway: 'allow',
      windows: [
        { points: 5, seconds: 3600 },
        { points: 20, seconds: 86_400 },
      ],
    },
    { name: 'b', storeAway: 'refuse', windows: [{ points: 1, seconds: 1 }] },
  ]
  t.same(
    [...(await readLimitPolicies(fileWith(t, signUp)))],
    [PROVISION, ...added].map((policy) => [policy.name, policy]),
  )
  const own = '  - {name: provision, windows: [{points: 2, window: 60}]}\n'
  const mine = { name: 'provision', storeAway: 'refuse', windows: [{ points: 2, seconds: 60 }] }
  t.same(
    [...(await readLimitPolicies(fileWith(t, signUp + own)))],
    [mine, ...added].map((policy) => [policy.name, policy]),
  )
  t.same([...(await readLimitPolicies(undefined))], [['provision', PROVISION]], 'as before')
})

t.test('the file may be a link, and the problem of any other names the setting', async (t) => {
  const folder = temporaryFolder(t)
  const real = fileWith(t, 'policies: [{name: a, windows: [{points: 1, window: 1}]}]')
  symlinkSync(real, join(folder, 'link'))
  t.ok((await readLimitPolicies(join(folder, 'link'))).has('a'))
  const problemsAt = async (path: string) => {
    try {
      return [...(await readLimitPolicies(path)).keys()]
    } catch (error) {
      if (error instanceof ConfigError) return error.problems
      throw error
    }
  }
  const missing = join(folder, 'missing')
  t.same(await problemsAt(missing), [`LIMITS_POLICY_FILE ${missing} cannot be read (ENOENT)`])
  symlinkSync(missing, join(folder, 'dangling'))
  t.match(await problemsAt(join(folder, 'dangling')), [/^LIMITS_POLICY_FILE .* \(ENOENT\)$/])
  mkdirSync(join(folder, 'dir'))
  for (const path of [join(folder, 'dir'), '/dev/zero'])
    t.same(await problemsAt(path), [
      `LIMITS_POLICY_FILE ${path} cannot be read (it is no regular file)`,
    ])
  const pipe = join(folder, 'pipe')
  execFileSync('mkfifo', [pipe])
  t.match(await problemsAt(pipe), [/cannot be read \(it is no regular file\)$/], 'and never waits')
  if (process.geteuid?.() !== 0) {
    chmodSync(real, 0)
    t.same(await problemsAt(real), [`LIMITS_POLICY_FILE ${real} cannot be read (EACCES)`])
  }
  const wrong = fileWith(t, 'policies:\n  - nmae: a\n')
  t.same(await problemsAt(wrong), [
    `LIMITS_POLICY_FILE ${wrong} line 2: policies[0].nmae is not known; did you mean name?`,
    `LIMITS_POLICY_FILE ${wrong} line 2: policies[0].name is missing`,
    `LIMITS_POLICY_FILE ${wrong} line 2: policies[0].windows is missing`,
  ])
})

t.test('a file of 64 KiB is read, and one byte more is refused unread', async (t) => {
  const most = 'policies: [{name: a, windows: [{points: 1, window: 1}]}]\n'.padEnd(64 * 1024, '#')
  t.ok((await readLimitPolicies(fileWith(t, most))).has('a'))
  await t.rejects(readLimitPolicies(fileWith(t, `${most}#`)), {
    message: /LIMITS_POLICY_FILE \/.* cannot be read \(it is longer than 65536 bytes\)$/,
  })
})

t.test('a secret whose file was named by mistake is not repeated', async (t) => {
  const secret = 'hunter2-0123456789-hunter2'
  for (const content of [
    secret,
    `${secret}\n${secret}\n`,
    `redis://u:${secret}@h:6379\n`,
    `"${secret}"`,
  ])
    t.same(
      problemsOf(content),
      [
        'line 1: the file takes names with values, and has one value alone',
        'policies is missing: it takes a list of policies',
      ],
      content,
    )
})

t.test('an empty file, an empty list and anything else than a list are problems', async (t) => {
  const missing = 'policies is missing: it takes a list of policies'
  const table: ReadonlyArray<readonly [content: string, ...problems: string[]]> = [
    ['', missing],
    ['# nothing\n', missing],
    ['{}', missing],
    ['[]', 'line 1: the file takes names with values, and has a list', missing],
    ['policies:', 'line 1: policies takes a list, and has no value'],
    ['{policies}', 'line 1: policies takes a list, and has no value'],
    ['policies: []', 'line 1: policies takes a list, and has an empty one'],
    ['policies: a', 'line 1: policies takes a list, and has the text "a"'],
    ['policies: {a: {}}', 'line 1: policies takes a list, and has names with values'],
    ['policies: [a]', 'line 1: policies[0] takes names with values, and has the text "a"'],
    ['policies: [[]]', 'line 1: policies[0] takes names with values, and has a list'],
    [
      'policies:\n  -\n',
      'line 2: policies[0].name is missing',
      'line 2: policies[0].windows is missing',
    ],
    [
      'policies:\n  - name: a\n  - windows: [{window: 1}, {points: 1}]\n',
      'line 2: policies[0].windows is missing',
      'line 3: policies[1].name is missing',
      'line 3: policies[1].windows[0].points is missing',
      'line 3: policies[1].windows[1].window is missing',
    ],
    [
      'policies: [{name: a, windows: []}]',
      'line 1: policies[0].windows takes a list, and has an empty one',
    ],
    [
      'policies: [{name: a, windows: 5}]',
      'line 1: policies[0].windows takes a list, and has the number 5',
    ],
    [
      'policies: [{name: a, windows}]',
      'line 1: policies[0].windows takes a list, and has no value',
    ],
  ]
  for (const [content, ...problems] of table) t.same(problemsOf(content), problems, content)
})

t.test('a key that is not known, or stands twice, is refused', async (t) => {
  const good = '{points: 1, window: 1}'
  const table: ReadonlyArray<readonly [content: string, ...problems: string[]]> = [
    [
      `policies: [{name: a, windows: [${good}]}]\npolices: []`,
      'line 2: polices is not known; did you mean policies?',
    ],
    [
      `policies:\n- name: a\n  store_away: allow\n  windows: [${good}]`,
      'line 3: policies[0].store_away is not known; did you mean store-away?',
    ],
    [
      'policies:\n- name: a\n  windows:\n  - points: 1\n    window: 1\n    seconds: 1',
      'line 6: policies[0].windows[0].seconds is not known; known here: points, window',
    ],
    [
      `policies: [{name: a, windows: [${good}], "": 1, <<: {store-away: allow}}]`,
      'line 1: policies[0]."" is not known; known here: name, windows, store-away',
      'line 1: policies[0].<< is not known; keys are not merged, so write them themselves',
    ],
    [
      `policies: [{name: a, windows: [${good}]}]\npolicies: [{name: b, windows: [${good}]}]`,
      'line 2: policies is on line 1 too: delete one of the two',
    ],
    [
      `policies:\n- name: a\n  name: b\n  windows: [{points: 1,\n    points: 9, window: 1}]\n  store-away: refuse\n  store-away: allow`,
      'line 3: policies[0].name is on line 2 too: delete one of the two',
      'line 5: policies[0].windows[0].points is on line 4 too: delete one of the two',
      'line 7: policies[0].store-away is on line 6 too: delete one of the two',
    ],
    [
      `policies: [{name: a, windows: [${good}]}]\n__proto__: 1\nconstructor: 1`,
      'line 2: __proto__ is not known; known here: policies',
      'line 3: constructor is not known; known here: policies',
    ],
  ]
  for (const [content, ...problems] of table) t.same(problemsOf(content), problems, content)
})

t.test('points and lengths are whole numbers in digits, and within their bounds', async (t) => {
  for (const [points, window] of [
    ['1', '1'],
    ['1000', '31622400'],
  ] as const)
    t.same(read(withWindows([points, window])), [
      {
        ...{ name: 'a', storeAway: 'refuse' },
        windows: [{ points: Number(points), seconds: Number(window) }],
      },
    ])
  const refused = [
    ...['1e3', '0x10', '0o17', '5.0', '1.5', '-1', '+1', '05', '.inf', '.nan', '-0'].map(
      (text) => [text, `the number ${text}`] as const,
    ),
    ['"5"', 'the text "5"'],
    ["'5'", 'the text "5"'],
    ['1_000', 'the text "1_000"'],
    ['5s', 'the text "5s"'],
    ['true', 'the boolean true'],
    ['', 'no value'],
    ['~', 'no value'],
    ['[5]', 'a list'],
    ['{a: 5}', 'names with values'],
    ['0', 'the number 0'],
    ['99999999999999999999', 'the number 99999999999999999999'],
  ] as const
  for (const [text, words] of [...refused, ['1001', 'the number 1001']] as const)
    t.same(
      problemsOf(withWindows([text, '60'])),
      [
        `line 1: policies[0].windows[0].points takes a whole number from 1 to 1000, and has ${words}`,
      ],
      text,
    )
  for (const [text, words] of [...refused, ['31622401', 'the number 31622401']] as const)
    t.same(
      problemsOf(withWindows(['5', text])),
      [
        `line 1: policies[0].windows[0].window takes a whole number from 1 to 31622400, and has ${words}`,
      ],
      text,
    )
})

t.test('a name is 1 to 64 lower-case letters, digits and hyphens', async (t) => {
  const named = (name: string) => `policies: [{name: ${name}, windows: [{points: 1, window: 1}]}]`
  for (const name of ['a', '0a', 'sign-up', 'a-', 'x'.repeat(64), '"7"'])
    t.match(read(named(name)), [{ name: name.replaceAll('"', '') }], name)
  for (const [name, words] of [
    ['""', 'the text ""'],
    ['-a', 'the text "-a"'],
    ['Sign-up', 'the text "Sign-up"'],
    ['a_b', 'the text "a_b"'],
    ['a.b', 'the text "a.b"'],
    ['"a/b"', 'the text "a/b"'],
    ['é', 'the text "é"'],
    ['"a\\n"', 'the text "a\\u{a}"'],
    ['x'.repeat(65), `the text "${'x'.repeat(64)}…"`],
    ['7', 'the number 7: put it in quotes'],
    ['true', 'the boolean true'],
    ['', 'no value'],
    ['[a]', 'a list'],
  ] as const)
    t.same(
      problemsOf(named(name)),
      [
        `line 1: policies[0].name takes 1 to 64 lower-case letters, digits and hyphens, without a hyphen at its beginning, and has ${words}`,
      ],
      name,
    )
})

t.test('store-away is refuse or allow', async (t) => {
  const withStoreAway = (text: string) =>
    `policies: [{name: a, windows: [{points: 1, window: 1}], store-away: ${text}}]`
  for (const word of ['refuse', 'allow'])
    t.match(read(withStoreAway(word)), [{ storeAway: word }], word)
  for (const [text, words] of [
    ['', 'no value'],
    ['true', 'the boolean true'],
    ['Allow', 'the text "Allow"'],
    ['[allow]', 'a list'],
  ] as const)
    t.same(problemsOf(withStoreAway(text)), [
      `line 1: policies[0].store-away takes refuse or allow, and has ${words}`,
    ])
})

t.test('names stand once', async (t) => {
  const one = 'windows: [{points: 1, window: 1}]'
  t.same(
    problemsOf(
      `policies:\n- {name: a, ${one}}\n- {name: provision, ${one}}\n- {name: a, ${one}}\n- {${one},\n  name: a}\n- {name: provision, ${one}}`,
    ),
    [
      'line 4: policies[2].name a is that of the policy on line 2 too: give each its own',
      'line 6: policies[3].name a is that of the policy on line 2 too: give each its own',
      'line 7: policies[4].name provision is that of the policy on line 3 too: give each its own',
    ],
  )
})

t.test('windows that change nothing are refused', async (t) => {
  t.same(problemsOf(withWindows(['1', '60'], ['2', '60'])), [
    'line 1: policies[0].windows has a window of 60 s on line 1 too: keep one',
  ])
  const lines =
    'policies:\n- name: a\n  windows:\n  - {points: 9, window: 86400}\n  - {points: 10, window: 60}\n  - {points: 10, window: 3600}\n'
  t.same(problemsOf(lines), [
    'line 5: policies[0].windows allows 10 in 60 s, and only 9 in 86400 s (line 4), so that the shorter window can never say no: give it fewer points, or delete it',
    'line 6: policies[0].windows allows 10 in 3600 s, and only 9 in 86400 s (line 4), so that the shorter window can never say no: give it fewer points, or delete it',
  ])
  t.match(read(withWindows(['5', '3600'], ['5', '86400'])), [{ name: 'a' }], 'as many says no too')
})

t.test('8 windows and 100 policies are the most', async (t) => {
  const windows = (count: number) =>
    withWindows(...Array.from({ length: count }, (_, i) => [`${i + 1}`, `${i + 1}`] as const))
  t.match(read(windows(8)), [{ name: 'a' }])
  t.same(problemsOf(windows(9)), ['line 1: policies[0].windows takes 8 at most, and has 9'])
  const policies = (count: number) =>
    `policies:\n${Array.from({ length: count }, (_, i) => `- {name: p${i}, windows: [{points: 1, window: 1}]}\n`).join('')}`
  t.equal(read(policies(100)).length, 100)
  t.same(problemsOf(policies(101)), ['line 102: policies takes 100 at most, and has 101'])
})

t.test('nothing means more than it shows', async (t) => {
  const alias = 'an alias (*name) is not taken: write the value itself'
  const anchor = 'an anchor (&name) is not taken, because no alias is'
  const tag = 'a tag (!name) is not taken: what a value is shows in the value'
  t.same(
    problemsOf(
      `policies:\n- &p\n  name: a\n  windows: &w\n  - {points: !!int "5", window: 60}\n- name: b\n  windows: *w\n- *p\n- {name: *p, store-away: *p, windows: [*w, {points: *p, window: *p}]}`,
    ),
    [
      `line 2: ${anchor}`,
      `line 4: ${anchor}`,
      `line 5: ${tag}`,
      `line 7: ${alias}`,
      `line 8: ${alias}`,
      ...Array.from({ length: 5 }, () => `line 9: ${alias}`),
    ],
  )
})

t.test('every problem is told at once', async (t) => {
  t.same(
    problemsOf(
      'policies:\n- name: A\n  windows:\n  - points: 0\n    window: 1h\n- nam: b\n  store-away: maybe\nolicies: 1\n',
    ),
    [
      'line 2: policies[0].name takes 1 to 64 lower-case letters, digits and hyphens, without a hyphen at its beginning, and has the text "A"',
      'line 4: policies[0].windows[0].points takes a whole number from 1 to 1000, and has the number 0',
      'line 5: policies[0].windows[0].window takes a whole number from 1 to 31622400, and has the text "1h"',
      'line 6: policies[1].nam is not known; did you mean name?',
      'line 6: policies[1].name is missing',
      'line 6: policies[1].windows is missing',
      'line 7: policies[1].store-away takes refuse or allow, and has the text "maybe"',
      'line 8: olicies is not known; did you mean policies?',
    ],
  )
})

/** Pieces of YAML, and of files that are nearly right. */
const PIECES =
  'policies:|- |name: |windows:|points: |window: |store-away: |allow|refuse|a|5|60|1e3|\n|\n  |\n    |{|}|[|]|,|: |"|&a |*a|!t |#|---\n|é|\0|provision|\n- name: b\n  windows: [{points: 1, window: 1}]'.split(
    '|',
  )

t.test('whatever the bytes are, there are good policies or a problem', async (t) => {
  const isGood = ({ name, windows, storeAway }: LimitPolicy) =>
    /^[a-z0-9][a-z0-9-]{0,63}$/.test(name) &&
    ['allow', 'refuse'].includes(storeAway) &&
    windows.length > 0 &&
    windows.every(
      ({ points, seconds }, i) =>
        Number.isSafeInteger(points) &&
        points >= 1 &&
        points <= 1000 &&
        Number.isSafeInteger(seconds) &&
        seconds > (windows[i - 1]?.seconds ?? 0) &&
        points >= (windows[i - 1]?.points ?? 0),
    )
  const holds = (content: string | Uint8Array) => {
    const got = read(content)
    return got.length > 0 && got.every((one) => typeof one === 'string' || isGood(one))
  }
  t.doesNotThrow(() => {
    const piece = fc.constantFrom(...PIECES)
    const text = fc.array(piece, { maxLength: 40 }).map((all) => all.join(''))
    fc.assert(fc.property(text, holds), { numRuns: 3000 })
    fc.assert(
      fc.property(
        text.map((all) => `policies:${all}`),
        holds,
      ),
      { numRuns: 2000 },
    )
    fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), holds), { numRuns: 300 })
    const window = fc.record({
      points: fc.integer({ min: -1, max: 1001 }),
      window: fc.integer({ min: 0, max: 9 }),
    })
    const policy = fc.record({
      name: fc.constantFrom('a', 'b', 'c', 'provision'),
      windows: fc.array(window, { maxLength: 4 }),
    })
    const policies = fc.array(policy, { maxLength: 4 })
    fc.assert(fc.property(policies, (all) => holds(JSON.stringify({ policies: all }))))
  })
})
