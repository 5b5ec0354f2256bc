/** Is HUB.yaml read as its owner means it, and does each mistake in it say where it is and what was meant? */
import * as fc from 'fast-check'
import t from 'tap'
import { ConfigError } from '../../src/config/load.ts'
import { readHubYaml, type HubConfig } from '../../src/vault/hub-yaml.ts'

/** What the file says, or its problems. */
function read(content: string | Uint8Array): HubConfig | readonly string[] {
  try {
    return readHubYaml(typeof content === 'string' ? Buffer.from(content) : content)
  } catch (error) {
    if (error instanceof ConfigError) return error.problems
    throw error
  }
}

/** The problems of a file, without its name. */
function problemsOf(content: string | Uint8Array): readonly string[] {
  const problems = read(content)
  if (!Array.isArray(problems)) throw new Error(`it was taken: ${JSON.stringify(problems)}`)
  return problems.map((problem) => String(problem).replace('HUB.yaml ', ''))
}

const ID_TAKES = 'vault.id takes 1 to 64 letters, digits, dots, underscores and hyphens, and has'
const NO_ID = 'HUB.yaml: vault.id is missing: it tells this vault from those of other workspaces'
const SHARED_TAKES = 'privacy.vault_shared_across_workspaces takes true or false, and has'

t.test('a file that keeps to the rules is taken, however it is written', async (t) => {
  const alone = { vaultId: 'houston', sharedAcrossWorkspaces: false }
  const shared = { vaultId: 'houston', sharedAcrossWorkspaces: true }
  const table: ReadonlyArray<readonly [content: string, config: HubConfig]> = [
    ['vault:\n  id: houston\n', alone],
    ['vault: {id: houston}', alone],
    ['{"vault": {"id": "houston"}, "privacy": {}}', alone],
    ['vault:\n  id: houston\nprivacy:\n', alone],
    ['# the hub\n\nvault: # one\n  id: "houston" # and its name\n', alone],
    ['---\nvault:\n  id: houston\n...\n', alone],
    ['\ufeffvault:\n  id: houston\n', alone],
    ['vault:\r\n  id: houston\r\nprivacy:\r\n  vault_shared_across_workspaces: true\r\n', shared],
    ['privacy:\n  vault_shared_across_workspaces: true\nvault:\n  id: houston', shared],
    ['privacy:\n  vault_shared_across_workspaces: false\nvault:\n  id: houston', alone],
    ['vault:\t\n  id:\thouston\t\n', alone],
    ['? vault\n: ? id\n  : houston\n', alone],
    ["vault:\n  id: 'a.B_9-'", { ...alone, vaultId: 'a.B_9-' }],
    ['vault:\n  id: "123"', { ...alone, vaultId: '123' }],
    ['vault:\n  id: yes', { ...alone, vaultId: 'yes' }],
    [`vault:\n  id: ${'x'.repeat(64)}`, { ...alone, vaultId: 'x'.repeat(64) }],
    [`vault:\n  id: houston\n# ${'é'.repeat(1000)} 🛰`, alone],
  ]
  for (const [content, config] of table) t.same(read(content), config, JSON.stringify(content))
})

t.test('the file is called as the caller calls it', async (t) => {
  t.throws(() => readHubYaml(Buffer.from('vualt: 1'), '/data/HUB.yaml'), {
    message: /invalid configuration:\n {2}\/data\/HUB\.yaml line 1: vualt is not known/,
  })
})

t.test('true and false at once, as the sample has it, says just this', async (t) => {
  const both = (first: string, second: string) =>
    `vault:\n  id: x\nprivacy:\n  vault_shared_across_workspaces: ${first}\n  # or\n  vault_shared_across_workspaces: ${second}\n`
  const sample =
    'line 6: privacy.vault_shared_across_workspaces is on line 4 too, because the sample of HUB.yaml gives both true and false: delete one of the two'
  t.same(problemsOf(both('true', 'false')), [sample])
  t.same(problemsOf(both('false', 'true')), [sample])
  const plain =
    'line 6: privacy.vault_shared_across_workspaces is on line 4 too: delete one of the two'
  t.same(problemsOf(both('true', 'true')), [plain])
  t.same(problemsOf(both('true', 'maybe')), [plain, `line 6: ${SHARED_TAKES} the text "maybe"`])
})

t.test('a key that stands twice is refused, and the first place named', async (t) => {
  t.same(problemsOf('vault:\n  id: a\nvault:\n  id: b\nvault:\n  id: c'), [
    'line 3: vault is on line 1 too: delete one of the two',
    'line 5: vault is on line 1 too: delete one of the two',
  ])
  t.same(problemsOf('vault:\n  id: a\n  "id": a'), [
    'line 3: vault.id is on line 2 too: delete one of the two',
  ])
})

t.test('a key that is not known is refused, and the nearest name given', async (t) => {
  const table: ReadonlyArray<readonly [content: string, ...problems: string[]]> = [
    ['vualt:\n  id: x', 'line 1: vualt is not known; did you mean vault?', NO_ID],
    ['vault:\n  idd: x', 'line 2: vault.idd is not known; did you mean id?', NO_ID],
    ['id: x', 'line 1: id is not known; did you mean id inside of vault?', NO_ID],
    ['vault.id: x', 'line 1: vault.id is not known; did you mean id inside of vault?', NO_ID],
    [
      'vault:\n  id: x\n  vault_shared_across_workspace: true',
      'line 3: vault.vault_shared_across_workspace is not known; did you mean vault_shared_across_workspaces inside of privacy?',
    ],
    [
      'privacy:\n  vault_shared_across_workspace: true\nvault: {id: x}',
      'line 2: privacy.vault_shared_across_workspace is not known; did you mean vault_shared_across_workspaces?',
    ],
    ['vault: {id: x}\nagents: [a, b]\n', 'line 2: agents is not known; known here: vault, privacy'],
    ['vault: {id: x, "": y}', 'line 1: vault."" is not known; known here: id'],
    ['vault: {id: x, ID: y}', 'line 1: vault.ID is not known; known here: id'],
    [
      'vault: {id: x}\n__proto__: {a: 1}\nconstructor: 2',
      'line 2: __proto__ is not known; known here: vault, privacy',
      'line 3: constructor is not known; known here: vault, privacy',
    ],
    [
      'vault: {id: x, "\\e[2J\\u202e": y}',
      'line 1: vault.\\u{1b}[2J\\u{202e} is not known; known here: id',
    ],
    [
      `vault: {id: x}\n${'y'.repeat(500)}: z`,
      `line 2: ${'y'.repeat(64)}… is not known; known here: vault, privacy`,
    ],
  ]
  for (const [content, ...problems] of table) t.same(problemsOf(content), problems, content)
})

t.test('a value of another type is refused, and what is there named', async (t) => {
  const table: ReadonlyArray<readonly [content: string, ...problems: string[]]> = [
    ['', NO_ID],
    ['# nothing but this\n', NO_ID],
    ['vault:\nprivacy:', NO_ID],
    ['- vault', 'line 1: the file takes names with values, and has a list', NO_ID],
    ['vault', 'line 1: the file takes names with values, and has one value alone', NO_ID],
    ['\nvault: x', 'line 2: vault takes names with values, and has the text "x"', NO_ID],
    ['vault: {id: x}\nprivacy: [true]', 'line 2: privacy takes names with values, and has a list'],
    ['vault:\n  id:', `line 2: ${ID_TAKES} no value`],
    ['vault:\n  id: ~', `line 2: ${ID_TAKES} no value`],
    ['vault: {\n  id\n}', `line 2: ${ID_TAKES} no value`],
    ['vault:\n  id: ""', `line 2: ${ID_TAKES} the text ""`],
    ['vault:\n  id: 0x1F', `line 2: ${ID_TAKES} the number 0x1F: put it in quotes`],
    ['vault:\n  id: 007', `line 2: ${ID_TAKES} the number 007: put it in quotes`],
    ['vault:\n  id: true', `line 2: ${ID_TAKES} the boolean true: put it in quotes`],
    ['vault:\n  id: [x]', `line 2: ${ID_TAKES} a list`],
    ['vault:\n  id: {x: y}', `line 2: ${ID_TAKES} names with values`],
    ['vault:\n  id: a/b', `line 2: ${ID_TAKES} the text "a/b"`],
    ['vault:\n  id: é', `line 2: ${ID_TAKES} the text "é"`],
    ['vault:\n  id: |\n    x\n', `line 2: ${ID_TAKES} the text "x\\u{a}"`],
    [`vault:\n  id: ${'x'.repeat(65)}`, `line 2: ${ID_TAKES} the text "${'x'.repeat(64)}…"`],
    ...['yes', 'on', '"true"', 'true or false'].map((value) => {
      const shown = value.replaceAll('"', '')
      return [
        `vault: {id: x}\nprivacy:\n  vault_shared_across_workspaces: ${value}`,
        `line 3: ${SHARED_TAKES} the text "${shown}"`,
      ] as const
    }),
    [
      'vault: {id: x}\nprivacy:\n  vault_shared_across_workspaces: 1',
      `line 3: ${SHARED_TAKES} the number 1`,
    ],
    [
      'vault: {id: x}\nprivacy:\n  vault_shared_across_workspaces:',
      `line 3: ${SHARED_TAKES} no value`,
    ],
  ]
  for (const [content, ...problems] of table) t.same(problemsOf(content), problems, content)
})

t.test('what makes a text mean more than it shows is refused', async (t) => {
  const alias = 'an alias (*name) is not taken: write the value itself'
  const anchor = 'an anchor (&name) is not taken, because no alias is'
  const tag = 'a tag (!name) is not taken: what a value is shows in the value'
  const directive = 'a directive (%name) is not taken: the file is YAML 1.2 without one'
  const merge = '<< is not known; keys are not merged, so write them themselves'
  const key = 'only a text is taken as a key'
  const table: ReadonlyArray<readonly [content: string, ...problems: string[]]> = [
    ['vault:\n  id: &a x', `line 2: ${anchor}`],
    ['vault: &a\n  id: x', `line 1: ${anchor}`],
    ['vault:\n  &a id: x', `line 2: ${anchor}`],
    ['vault:\n  id: *a', `line 2: ${alias}`],
    ['vault: *a', `line 1: ${alias}`, NO_ID],
    ['*a', `line 1: ${alias}`, NO_ID],
    [
      'vault: &a\n  id: x\nprivacy:\n  <<: *a\n',
      `line 1: ${anchor}`,
      `line 4: privacy.${merge}`,
      `line 4: ${alias}`,
    ],
    ['vault:\n  <<: {id: x}', `line 2: vault.${merge}`, NO_ID],
    ['vault:\n  id: !!str 5', `line 2: ${tag}`],
    ['vault:\n  id: !env SECRET', `line 2: ${tag}`],
    ['vault: !<tag:yaml.org,2002:map>\n  id: x', `line 1: ${tag}`],
    ['!!str vault:\n  id: x', `line 1: ${tag}`],
    ['%YAML 1.1\n---\nvault:\n  id: x', `line 1: ${directive}`],
    ['%TAG ! tag:example.com,2000:\n---\nvault:\n  id: x', `line 1: ${directive}`],
    [
      'vault:\n  id: x\n---\nvault:\n  id: y',
      'line 3: a second document (---) begins here: the file is one document',
    ],
    ['? [vault]\n: x', `line 1: ${key}`],
    ['{{vault: x}: y}', `line 1: ${key}`],
  ]
  for (const [content, ...problems] of table) t.same(problemsOf(content), problems, content)
})

t.test('a file that is no YAML says on which line', async (t) => {
  const table: ReadonlyArray<readonly [content: string, problem: RegExp]> = [
    ['vault:\n\tid: x', /^line 2: not YAML: Tabs are not allowed as indentation$/],
    ['vault:\n  id: "x', /^line 2: not YAML: Missing closing "quote$/],
    ['vault:\n  id: x\n   y: z', /^line 2: not YAML: /],
    ['vault: {id: x', /^line 1: not YAML: /],
    ['vault:\n  id: @x', /^line 2: not YAML: /],
    ['vault:\n  id: "\\q"', /^line 2: not YAML: Invalid escape sequence \\q$/],
    ['vault:\n  id: x\n}', /^line 3: not YAML: /],
  ]
  for (const [content, problem] of table) t.match(problemsOf(content)[0], problem, content)
})

t.test('characters that are not shown, or not where they are, are refused', async (t) => {
  const table: ReadonlyArray<readonly [character: string, code: string]> = [
    ['\0', '0000'],
    ['\x07', '0007'],
    ['\x1b', '001B'],
    ['\x7f', '007F'],
    ['\x85', '0085'],
    ['\r', '000D'],
    ['\u2028', '2028'],
    ['\u202e', '202E'],
    ['\u2066', '2066'],
    ['\ufeff', 'FEFF'],
    ['\uffff', 'FFFF'],
  ]
  for (const [character, code] of table)
    for (const content of [`vault:\n  id: x # ${character}y`, `vault:\n  id: "${character}"\n`])
      t.same(problemsOf(content), [`line 2: the character U+${code} is not taken`], code)
})

t.test('bytes that are not UTF-8 are refused, and none is replaced', async (t) => {
  const problem = ['HUB.yaml: the file is not UTF-8: save it as UTF-8']
  const good = 'vault:\n  id: houston\n# '
  for (const bytes of [[0xff], [0xc3], [0xc0, 0xaf], [0xed, 0xa0, 0x80], [0xf5, 0x80, 0x80, 0x80]])
    t.same(problemsOf(Buffer.concat([Buffer.from(good), Buffer.from(bytes)])), problem)
  t.same(problemsOf(Buffer.from(`\ufeff${good}`, 'utf16le')), problem)
})

t.test('a file of 64 KiB is read, and one byte more is refused unread', async (t) => {
  const most = Buffer.from('vault:\n  id: x\n'.padEnd(64 * 1024, '#'))
  t.match(read(most), { vaultId: 'x' })
  t.same(problemsOf(Buffer.concat([most, Buffer.from('#')])), [
    'HUB.yaml: the file has 65537 bytes, and 65536 are the most',
  ])
})

t.test('nothing is nested deeper than 16, whatever would end the parser', async (t) => {
  const deep = 'more than 16 mappings and lists stand inside each other'
  const shallow = problemsOf(`vault: {id: x}\ny: ${'['.repeat(15)}${']'.repeat(15)}`)
  t.same(shallow, ['line 2: y is not known; known here: vault, privacy'])
  for (const content of [
    `y: ${'['.repeat(16)}${']'.repeat(16)}`,
    '['.repeat(65_000),
    '{a: '.repeat(16_000),
    '- '.repeat(32_000),
    '? '.repeat(32_000),
    Array.from({ length: 300 }, (_, i) => `${' '.repeat(i)}a:`).join('\n'),
  ])
    t.match(problemsOf(content), [new RegExp(`^line \\d+: ${deep}$`)], content.slice(0, 20))
})

t.test('a billion laughs are not laughed', async (t) => {
  const rows = Array.from(
    { length: 20 },
    (_, i) => `l${i + 1}: &l${i + 1} [${Array.from({ length: 9 }, () => `*l${i}`).join(', ')}]`,
  )
  const problems = problemsOf(`l0: &l0 [lol]\n${rows.join('\n')}\nvault: {id: *l20}`)
  t.equal(problems.length, 21)
  t.match(problems.at(-1), /^HUB\.yaml: and \d+ more problems$/)
})

t.test('of many problems 20 are told, by line, and how many more there are', async (t) => {
  const many = Array.from({ length: 5000 }, (_, i) => `k${i}:`).join('\n')
  const problems = problemsOf(`${many}\nvault: {id: x}`)
  t.equal(problems.length, 21)
  t.match(problems[0], /^line 1: k0 is not known/)
  t.match(problems[19], /^line 20: k19 is not known/)
  t.equal(problems[20], 'HUB.yaml: and 4980 more problems')
  const again = problemsOf(`vault:\n${'  id: x\n'.repeat(8000)}`)
  t.equal(again[20], 'HUB.yaml: and 7979 more problems')
})

/** Pieces of YAML, and of files that are nearly right. */
const PIECES =
  'vault|id|privacy|vault_shared_across_workspaces|true|false|x|:|: |- |? |\n|\n  |\r\n|\t| |#|&a |*a|!t |!!str |<<|{|}|[|]|,|"|\'|\\|| |>|%YAML 1.1|---|...|\n---\n|0|~|é|\0|\ufeff'.split(
    '|',
  )

t.test('whatever the bytes are, there is an id or a problem', async (t) => {
  const holds = (content: string | Uint8Array) => {
    const got = read(content)
    return Array.isArray(got)
      ? got.length > 0 && got.length <= 21
      : 'vaultId' in got && /^[A-Za-z0-9._-]{1,64}$/.test(got.vaultId)
  }
  t.doesNotThrow(() => {
    fc.assert(
      fc.property(
        fc.array(fc.constantFrom(...PIECES), { maxLength: 40 }).map((all) => all.join('')),
        holds,
      ),
      { numRuns: 3000 },
    )
    fc.assert(fc.property(fc.string({ unit: 'binary', maxLength: 200 }), holds), { numRuns: 300 })
    fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), holds), { numRuns: 300 })
  })
})
