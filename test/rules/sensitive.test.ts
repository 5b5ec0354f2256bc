/** Which requests name a file that must never leave the workspace, and which only look similar? */
import * as fc from 'fast-check'
import t from 'tap'
import {
  namesSensitiveFile,
  parseFilePattern,
  type FilePattern,
} from '../../src/rules/sensitive.ts'
import { parseTarget } from '../../src/rules/target.ts'
import { cpuMs, LINEAR_MS } from '../helpers/cpu-time.ts'

const SITE = { controlUi: '/chat', stripApi: true }

/** The gateway's decision on a target: 400 for an invalid one, 403 for a sensitive file. */
function answer(raw: string, added: readonly FilePattern[] = []): 400 | 403 | 'passes' {
  const target = parseTarget(raw, SITE)
  if ('reason' in target) return 400
  return namesSensitiveFile(target, added) ? 403 : 'passes'
}

const percent = (text: string) => text.replaceAll('%', '%25')
const escapeAll = (text: string) =>
  [...Buffer.from(text)].map((byte) => `%${byte.toString(16).padStart(2, '0')}`).join('')
const fullWidth = (text: string) =>
  encodeURIComponent(
    text.replace(/[!-~]/g, (char) => String.fromCharCode(char.charCodeAt(0) + 0xfee0)),
  )

const NAMES = [
  '.env',
  'production.env',
  '.env.local',
  '.env.production.local',
  'openclaw.json',
  'secrets.vault.enc',
  '.vault.enc',
  'server.key',
  '.key',
]

/** The name in disguises that stay one path segment. */
function disguises(name: string): string[] {
  const dot = name.replaceAll('.', '%2e')
  return [
    name,
    name.toUpperCase(),
    name.replace(/[a-z]/g, (letter, i: number) => (i % 2 ? letter : letter.toUpperCase())),
    dot,
    dot.toUpperCase().replaceAll('%2E', '%2E'),
    percent(dot),
    percent(percent(dot)),
    escapeAll(name),
    percent(escapeAll(name)),
    percent(percent(escapeAll(name))),
    fullWidth(name),
    percent(fullWidth(name)),
    name.replace('e', '%EF%BD%85'),
    name.replace('.', '%EF%BC%8E'),
    name.replace('.', '%E2%80%A4'),
    name.replace('n', 'n%E2%80%8B'),
    name.replace('e', '%E2%81%A0e'),
    name.replace('e', 'e%C2%AD'),
    name.replace('.', '.%EF%BB%BF'),
    name.replace('e', 'e%EF%B8%8F'),
    name.replace('e', '%E2%80%AEe'),
    name.replace('k', '%E2%84%AA'),
    name.replace('s', '%C5%BF'),
    `${name}.`,
    `${name}...`,
    `${name}%2e`,
    `${name}%20`,
    `${name}%20%20.%20`,
    `${name}%2520`,
    `${name}%C2%A0`,
    `${name}%E3%80%80`,
    `${name}%E1%9A%80`,
    `${name}%E2%80%A8`,
    `${name.toUpperCase()}%E2%80%8B`,
    `${name}+`,
    `${name};`,
    `${name};x`,
    `${name};jsessionid=1`,
    `${name}%3bx`,
    `${name}%253bx`,
    `${name}%EF%BC%9Bx`,
    `${name}:`,
    `${name}::$DATA`,
    `${name}::$data`,
    `${name}%3a%3a%24DATA`,
    `${name}:x`,
    `${name}:Zone.Identifier`,
    `${name}%3Fraw`,
    `${name}%23x`,
    `${name}%22`,
    `${name}'`,
    `${name})`,
    `%22${name}%22`,
    `%20${name}`,
    `${name};.`,
    `${name}.;x`,
    `${name}%20;x`,
    `${name}.%20:x`,
  ]
}

const IN_PATHS = [
  ...NAMES.flatMap((name) => disguises(name).map((disguise) => `/${disguise}`)),
  ...[
    '',
    '/api',
    '/api/files',
    '/terminal',
    '/chat',
    '/_gateway',
    '/_next/static',
    '/a/b/c',
  ].flatMap((folder) =>
    NAMES.flatMap((name) => [
      `${folder}/${name}`,
      `${folder}/${name}/`,
      `${folder}/${name}/x`,
      `${folder}/${name}//`,
      `${folder}/${name}?x=1`,
      `${folder}/${name}?`,
      `${folder}/x%2f${name}`,
      `${folder}/x%252F${name}`,
      `${folder}/${name}%2fx`,
      `${folder}/x%EF%BC%8F${name}`,
      `${folder}/${name}%EF%BC%8Fx`,
    ]),
  ),
  '/.env.example.bak',
  '/.env.examples',
  '/.env.example/.env',
  '/.env.local.example',
  '/.env?raw??',
  '/.env?import&raw',
  '/.env?.svg?.wasm?init',
  '/@fs/data/.env',
  '/health/.env',
  '/api/__openclaw__/catalog-icon/https%3A%2F%2Fx%2F.env',
]

const IN_QUERIES = [
  ...NAMES.flatMap((name) =>
    disguises(name).flatMap((disguise) => [
      `/api/files?path=/data/${disguise}`,
      `/?a=1&f=${disguise}&b=2`,
    ]),
  ),
  ...NAMES.flatMap((name) => [
    `/x?${name}`,
    `/x?a&${name}&b`,
    `/x?${name}=`,
    `/x?/data/${name}`,
    `/x?/data/${name}=1`,
    `/x?%2Fdata%2F${name}=1`,
    `/x?file=b=${name}`,
    `/x?file%3Db%3D${name}`,
    `/x?file=${name}%26b`,
    `/x?url=%2Fraw%3Fname%3D${name}`,
    `/x?file[]=${name}`,
    `/x?file%5B%5D=${name}`,
    `/x?file[0]=x&file[1]=${name}`,
    `/x?path=${name}/`,
    `/x?path=${name}//`,
    `/x?path=${name}/.`,
    `/x?path=${name}/./`,
    `/x?path=${name}%2f`,
    `/x?path=${name}/%20`,
    `/x?path=x/../${name}`,
    `/x?path=/data/${name}/x/..`,
    `/x?path=/data/${name}/x%2f%2e%2e`,
    `/x?path=C:\\data\\${name}`,
    `/x?path=C%3A%5Cdata%5C${name}`,
    `/x?path=file:///data/${name}`,
    `/x?path=https%3A%2F%2Fh%2F${name}%3Fa%3D%2Fb`,
    `/x?path=/data/${name}?raw=/a.png`,
    `/x?path=/data/${name}%23/a.png`,
    `/x?path=/data/${name};/a.png`,
    `/x?path=${name}%00`,
    `/x?path=${name}%00.png`,
    `/x?path=${name}%00/a.png`,
    `/x?path=${name}%2500.png`,
    `/x?path=${name}%0a`,
    `/x?path=${name}%0d%0a`,
    `/x?path=${name}%09`,
    `/x?path=%0a${name}`,
    `/x?path=${name}%c2%85`,
    `/x?path=${name}+`,
    `/x?path=+${name}++`,
    `/x?path=${name}%2b`,
    `/x?path=${name}%ff`,
    `/x?path=${name}%c0%80`,
    `/x?path=${name}%c0%80.png`,
    `/x?path=${name}%`,
    `/x?path=${name}%2`,
    `/x?path=${name}%zz`,
    `/x?path=%/${name}`,
    `/x?path=%ff/${name}`,
    `/x?path=%zz%2f${name}`,
    `/x?path=%22%2Fdata%2F${name}%22`,
    `/x?input=%7B%22path%22%3A%22%2Fdata%2F${name}%22%7D`,
    `/x?path=[${name}]`,
    `/x?path='${name}'`,
    `/x?path=<${name}>`,
    `/x?path=a/b/c/${name}#`.slice(0, -1),
    `/health?${name}`,
    `/terminal?arg=${name}`,
  ]),
  '/x?.ENV',
  '/x?%2eenv',
  '/x?%2eenv=1',
  '/x?.env=1',
  '/x?.env&raw',
  '/x?.env%26raw',
  '/x??.env',
  '/x???.env??',
  '/x?a=.env.example%00.env',
]

/** Parameters whose names say that the value is a file. */
const FILE_PARAMETERS = [
  ...[
    'path',
    'file',
    'filename',
    'name',
    'src',
    'url',
    'key',
    'doc',
    'f',
    'p',
    'dir',
    'folder',
    'uri',
  ],
  ...[
    'FILE',
    'Path',
    'filePath',
    'file_path',
    'file-path',
    'fileName',
    'docName',
    'imageUrl',
    'srcFile',
  ],
  ...[
    'file[]',
    'path[0]',
    'files[0][name]',
    'data[file]',
    'data[key]',
    'opts.path',
    'file1',
    'key2',
  ],
  ...[
    '%66ile',
    'file%5B%5D',
    '%2566ile',
    'data%5Bkey%5D',
    '%EF%BD%86ile',
    'target',
    'template',
    'arg',
  ],
  ...[
    'attachment',
    'download',
    'config',
    'include',
    'page',
    'cmd',
    'object',
    'old',
    'to',
    'secret',
  ],
]

/** Other parameters, whose values can be any text. */
const OTHER_PARAMETERS = [
  'q',
  'sort',
  'query',
  'search',
  'filter',
  'x',
  'a[]',
  'sort.key',
  'order',
  'text',
]

/** Names that can only be a file, and names that can also be a property. */
const UNMISTAKABLE = [
  '.env',
  '.env.local',
  '.env.production.local',
  '.env.keys',
  'openclaw.json',
  'secrets.vault.enc',
  '.vault.enc',
  'prod.env.vault.enc',
]
const AMBIGUOUS = ['process.env', 'import.meta.env', 'user.key', 'server.key', '.key']

/** Values that can be a path, because they contain a slash, in different contexts. */
const PATH_VALUES = NAMES.flatMap((name) => [
  `{"path":"/data/${name}","encoding":"utf8"}`,
  `{"encoding":"utf8","path":"/data/${name}"}`,
  `{ "path" : "/data/${name}" , "encoding" : "utf8" }`,
  `{"a":{"b":["x",{"c":"/data/${name}"}]},"d":1}`,
  `["/data/${name}","x"]`,
  `["x","/data/${name}"]`,
  `[["/data/${name}"]]`,
  `{"dir":"/data","entry":"${name}"}`,
  `{"path":"\\/data\\/${name}","x":1}`,
  `{"path":"\\u002fdata\\u002f${name.replace('.', '\\u002e')}","x":1}`,
  `{"path":"/data/${name.replace('.', '\\u002E')}","x":1}`,
  `{"path":"/data/${name.replace('.', '\\x2e')}","x":1}`,
  `{"path":"/data/${name.replace('.', '\\u{2e}')}","x":1}`,
  `"{\\"path\\":\\"/data/${name}\\",\\"x\\":1}"`,
  `{path:'/data/${name}',x:1}`,
  `{"path":"C:\\\\data\\\\${name}","x":1}`,
  `/data/readme,/data/${name},/data/x`,
  `/data/readme, /data/${name}, /data/x`,
  `/data/${name}|/data/x`,
  `/data/${name};/data/x`,
  `/data/${name} /data/x`,
  `cat /data/${name} -n`,
  `cat '/data/${name}' -n`,
  `cat </data/${name}>/tmp/x`,
  `cat /data/x ${name} -n`,
  `$(cat /data/${name})`,
  `{cat,/data/${name}}`,
  `cp --from=/data/${name} --to=/tmp/x`,
  `cd /data&&cat ${name}&&ls`,
  `/data/x?file=${name}&y=1`,
  `user@host:/data/${name},x`,
  `~/${name}~`,
  `/data/${name}*`,
  `(/data/${name})`,
  `/data/${name}\0,x`,
  `/data/${name}\n/data/x`,
])

/** A value percent-encoded one to three times, with and without `+` for blanks. */
const written = (value: string): string[] => {
  const once = encodeURIComponent(value)
  return [
    once,
    once.replaceAll('%20', '+'),
    percent(once),
    percent(percent(once)),
    escapeAll(value),
  ]
}

const LOOK_ALIKES = [
  '/',
  '/environment',
  '/environments/1',
  '/env',
  '/env/',
  '/env.js',
  '/env.d.ts',
  '/env.local',
  '/.envrc',
  '/.envs',
  '/.env-sample',
  '/.env_example',
  '/.environment',
  '/.env%69ronment',
  '/.env.example',
  '/.ENV.EXAMPLE',
  '/.env%2eexample',
  '/.env.example.',
  '/.env.example/',
  '/.env.example/x',
  '/.env.example;x',
  '/.env.example:x',
  '/.env.example%20',
  '/?f=.env.example%ff',
  '/?f=.env.example%00',
  '/.env.example?raw',
  '/a/.env.example',
  '/api/files?path=/data/.env.example',
  '/api/files?path=/data/.env.example%00',
  '/api/files?path=.env.example/',
  '/api/files?path=.env.example;x',
  '/env.example',
  '/process.env.js',
  '/x.env.js',
  '/xenv',
  '/x-env',
  '/.e.n.v',
  '/envelope',
  '/x.envelope',
  '/x.environment',
  '/envoy',
  '/dotenv',
  '/.dotenv.md',
  '/monkey',
  '/monkeys',
  '/key',
  '/keys',
  '/keys/1',
  '/key.pem',
  '/keyboard',
  '/keyboard.js',
  '/keyring',
  '/keynote.pdf',
  '/keystore.jks',
  '/.keys',
  '/.keystore',
  '/.keyrc',
  '/a.keys',
  '/a.keyx',
  '/a.key.js',
  '/a.key.pub',
  '/a.keyboard',
  '/a-key',
  '/akey',
  '/hot-keys',
  '/turnkey',
  '/turnkey.js',
  '/_next/static/chunks/turnkey.js',
  '/_next/static/chunks/app/keys/page-0a1b.js',
  '/_next/static/media/keyboard.3f1a.woff2',
  '/public.key.txt',
  '/api/keys',
  '/api/keys/1',
  '/api/keys/1/rotate',
  '/api/v1/keys?limit=10',
  '/openclaw',
  '/openclaw.json5',
  '/openclaw.jsonc',
  '/openclaw.json.md',
  '/openclaw.js',
  '/openclaw-json',
  '/openclawxjson',
  '/my-openclaw.json',
  '/openclaw.schema.json',
  '/openclaw.yaml',
  '/docs/openclaw/json',
  '/vault',
  '/vault.enc',
  '/vault.encoder',
  '/x.vault',
  '/x.vault.encrypted',
  '/x.vault.enc.md',
  '/x.vaultxenc',
  '/xvault.enc',
  '/x-vault.enc',
  '/vault/enc',
  '/x.enc',
  '/?key=1',
  '/?env=prod',
  '/?keys=a,b',
  '/?api_key=abc',
  '/?sort.key=asc',
  '/?filter.key=x&page.env=2',
  '/?environment=staging',
  '/?q=monkey',
  '/?q=environment',
  '/?q=key',
  '/?q=.environment',
  '/?q=.envrc',
  '/?q=what+is+an+.env+file',
  '/?q=about%20openclaw.json',
  '/?q=how+to+edit+openclaw.json',
  '/?q=the+.key+to+success',
  '/?q=100%',
  '/?q=100%25',
  '/?q=a+b',
  '/?q=%ff',
  '/?q=%E2%82%AC',
  '/?path=/data/.env/readme.md',
  '/?path=/certs/server.key/readme.md',
  '/?path=/data/env',
  '/?path=/data/openclaw.json5',
  '/?path=/vault.enc',
  '/?v=1.2.3&key=abc&env=prod',
  '/?next=/environment&vault=enc',
  '/?',
  '/?&&&===',
  '/?=',
  '/_next/image?url=%2Fkeys%2Fa.png&w=64&q=75',
  '/_next/data/x/keys.json?id=1',
  '/a.json',
  '/api/__openclaw__/catalog-icon/https%3A%2F%2Fx.example%2Fa.png',
  '/terminal/token',
  '/terminal/ws',
  '/health',
]

t.test('a sensitive file is refused in every disguise in the path', async (t) => {
  const targets = new Set(IN_PATHS)
  t.ok(targets.size >= 250, `${targets.size} targets`)
  t.same(
    [...targets].filter((raw) => answer(raw) !== 403),
    [],
  )
})

t.test('a sensitive file is refused in every disguise in the query', async (t) => {
  const targets = new Set(IN_QUERIES)
  t.ok(targets.size >= 250, `${targets.size} targets`)
  t.same(
    [...targets].filter((raw) => answer(raw) !== 403),
    [],
  )
})

t.test(
  'a value with a slash is checked as a path, also inside JSON, lists and commands',
  async (t) => {
    const targets = PATH_VALUES.flatMap((value) =>
      OTHER_PARAMETERS.slice(0, 3).flatMap((name) =>
        written(value).map((text) => `/x?${name}=${text}&y=1`),
      ),
    )
    t.ok(targets.length >= 250, `${targets.length} targets`)
    t.same(
      targets.filter((raw) => answer(raw) !== 403),
      [],
    )
  },
)

t.test(
  'a name without a slash is refused if its parameter or JSON member means a file',
  async (t) => {
    const names = [...NAMES, ...AMBIGUOUS]
    const targets = FILE_PARAMETERS.flatMap((parameter) =>
      names.flatMap((name) => [
        `/x?${parameter}=${name}`,
        `/x?y=1&${parameter}=${name}&z=2`,
        `/x?${parameter}=%22${name}%22`,
        `/x?${parameter}=readme,${name},x`,
        `/x?${parameter}=readme%7C${name}`,
        `/x?${parameter}=${percent(escapeAll(name))}`,
        `/x?${parameter}=${encodeURIComponent(`["x","${name}"]`)}`,
      ]),
    )
    for (const name of names)
      targets.push(
        `/x?input=${encodeURIComponent(`{"file":"${name}","x":1}`)}`,
        `/x?q=${encodeURIComponent(`{"a":{"file":["x","${name}"]}}`)}`,
        `/x?q=${encodeURIComponent(`{"a":{"\\u0066ile":"${name}"}}`)}`,
        `/x?q=1;file=${name}`,
        `/x?q=1;x=2;path[0]=${name};y=3`,
        `/x?q=1%26file=${name}`,
      )
    t.same(
      targets.filter((raw) => answer(raw) !== 403),
      [],
    )
  },
)

t.test('a name that can only be a file is refused in any parameter', async (t) => {
  const targets = OTHER_PARAMETERS.flatMap((parameter) =>
    UNMISTAKABLE.flatMap((name) => [
      `/x?${parameter}=${name}`,
      `/x?${parameter}=${name.toUpperCase()}`,
      `/x?${parameter}=+${name}+`,
      `/x?${parameter}=${name}.`,
      `/x?${parameter}=${name};x`,
      `/x?${parameter}=${name}:x`,
      `/x?${parameter}=${name}%00`,
      `/x?${parameter}=${name}%ff`,
      `/x?${parameter}=%22${name}%22`,
      `/x?${parameter}=x,${name}`,
      `/x?${parameter}=x=${name}`,
      `/x?${parameter}=${percent(percent(escapeAll(name)))}`,
      `/x?${parameter}=${fullWidth(name)}`,
      `/x?${parameter}=${encodeURIComponent(`["x", "${name}"]`)}`,
      `/x?${parameter}=${encodeURIComponent(`{"x": "${name}"}`)}`,
    ]),
  )
  t.same(
    targets.filter((raw) => answer(raw) !== 403),
    [],
  )
})

t.test('sentences, properties and environment names are not refused', async (t) => {
  const properties = AMBIGUOUS.flatMap((name) => [
    ...[name, `${name}:asc`, `-${name}`, `x,${name}`, `"${name}"`, `{"sort":"${name}"}`],
  ])
  const prose = [...UNMISTAKABLE, ...AMBIGUOUS].flatMap((name) => [
    `how to use ${name}`,
    `${name} is not read`,
    `what is ${name}?`,
    `why, ${name}, why`,
    `${name}: what is it?`,
    `what? ${name} is it`,
    `salt & ${name} and more`,
  ])
  const targets = OTHER_PARAMETERS.flatMap((parameter) =>
    [...properties, ...prose].map((value) => `/x?${parameter}=${encodeURIComponent(value)}`),
  )
  t.same(
    targets.filter((raw) => answer(raw) !== 'passes'),
    [],
  )
})

t.test('disguises that are not a valid target are refused as bad targets', async (t) => {
  const raws = [
    '/.env/.',
    '/.env/..',
    '/./.env',
    '/x/../.env',
    '/.env%00',
    '/.env%00.png',
    '/.env%ff',
    '/.env%',
    '/.env%2',
    '/.env\\',
    '/.env%5c',
    '/x\\.env',
    '/x%5c.env',
    '/.env#',
    '/.env%0a',
    '//.env',
    '/%2f.env',
    '/%c0%aeenv',
    '/%e0%80%aeenv',
    '/\xef\xbc\x8eenv',
    '/x?\xef\xbc\x8eenv',
  ]
  t.same(
    raws.filter((raw) => answer(raw) !== 400),
    [],
  )
})

t.test('names that only look like a sensitive file pass', async (t) => {
  const targets = new Set(LOOK_ALIKES)
  t.ok(targets.size >= 100, `${targets.size} targets`)
  t.same(
    [...targets].filter((raw) => answer(raw) !== 'passes'),
    [],
  )
})

t.test('text is decoded at most three times', async (t) => {
  t.equal(answer('/%2525252eenv'), 'passes')
  t.equal(answer('/x?%2525252eenv'), 'passes')
  t.equal(answer('/%25252eenv'), 403)
  t.equal(answer('/x?%25252eenv'), 403)
})

const RUNS = { seed: 20_260_103, numRuns: 2000 }
const word = fc.stringMatching(/^[a-z0-9_-]{1,8}$/)

t.test('no folder, case or mix of escapes hides a sensitive file', async () => {
  const spelled = (name: string) =>
    fc.tuple(
      ...name
        .split('')
        .map((char) =>
          fc.constantFrom(
            char,
            char.toUpperCase(),
            escapeAll(char),
            percent(escapeAll(char)),
            fullWidth(char),
          ),
        ),
    )
  fc.assert(
    fc.property(
      fc.array(word, { maxLength: 3 }),
      fc.constantFrom(...NAMES).chain(spelled),
      fc.constantFrom('', '/', '.', '%20', ';x', ':x', '/x', '%2fx'),
      (folders, name, tail) => {
        const path = `/${[...folders, name.join('')].join('/')}`
        return answer(path + tail) === 403 && answer(`/x?p=${path}`) === 403
      },
    ),
    RUNS,
  )
})

t.test('plain words are never refused', async () => {
  fc.assert(
    fc.property(
      fc.array(word, { minLength: 1, maxLength: 4 }),
      word,
      fc.constantFrom('.js', '.html', '.json5', '.keys', '.environment', ''),
      (folders, value, extension) =>
        answer(`/${folders.join('/')}${extension}?q=${folders.join('.')}&key=${value}`) ===
        'passes',
    ),
    RUNS,
  )
})

t.test('no target makes the check throw', async () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
      answer(
        `/?${Buffer.from(bytes)
          .toString('latin1')
          .replace(/[^!-"$-~]/g, '%')}`,
      )
      answer(`/${escapeAll(Buffer.from(bytes).toString('latin1'))}?%${bytes.join('%')}`)
    }),
    RUNS,
  )
})

t.test('configured patterns are file names with stars, compared without case', async (t) => {
  const rows: ReadonlyArray<readonly [pattern: string, raw: string, refused: boolean]> = [
    ['id_rsa', '/home/id_rsa', true],
    ['id_rsa', '/home/ID_RSA', true],
    ['ID_RSA', '/home/id_rsa', true],
    ['id_rsa', '/home/id_rsa%20', true],
    ['id_rsa', '/home/id_rsa;x', true],
    ['id_rsa', '/?f=/home/id_rsa', true],
    ['id_rsa', '/id%5frsa', true],
    ['id_rsa', '/home/id_rsa.pub', false],
    ['id_rsa', '/home/xid_rsa', false],
    ['id_rsa', '/?id_rsa.x=1', false],
    ['*.pem', '/a.pem', true],
    ['*.pem', '/.pem', true],
    ['*.pem', '/a.pem/x', true],
    ['*.pem', '/apem', false],
    ['*.pem', '/a.pem.js', false],
    ['secret*', '/secret', true],
    ['secret*', '/secrets.txt', true],
    ['secret*', '/a-secret', false],
    ['a*b*c', '/abc', true],
    ['a*b*c', '/a-b-b-c', true],
    ['a*b*c', '/acb', false],
    ['a*a', '/aa', true],
    ['a*a', '/a', false],
    ['*ab*ab*', '/abab', true],
    ['*ab*ab*', '/aba', false],
    ['a*ab', '/ab', false],
    ['**.pem', '/a.pem', true],
    ['a.b', '/axb', false],
    ['a+b', '/aab', false],
    ['a?b', '/axb', false],
    ['[ab]', '/a', false],
    ['(a|b)', '/a', false],
    ['^a$', '/a', false],
    ['ｓecret', '/secret', true],
    ['secret.', '/secret', true],
    ['a;b', '/a;b', true],
    ['id_rsa', '/?q=cat+/root/.ssh/id_rsa+-n', true],
    ['id_rsa', '/?q=["/root/id_rsa","x"]', true],
    ['id_rsa', '/?file=id_rsa', true],
    ['id_rsa', '/?files[]=ID%5FRSA', true],
    ['id_rsa', '/?q=id_rsa', true],
    ['id_rsa', '/?q=where+is+id_rsa', false],
    ['*.pem', '/?file=ca.pem', true],
    ['*.pem', '/?q={"path":"/etc/ca.pem","x":1}', true],
    ['*.pem', '/?q=ca.pem', false],
    ['*.pem', '/?sort=ca.pem', false],
    ['my notes.txt', '/my%20notes.txt', true],
    ['my notes.txt', '/?file=my+notes.txt', true],
    ['my notes.txt', '/?q=/data/my%20notes.txt', true],
  ]
  const wrong = rows.filter(
    ([pattern, raw, refused]) => (answer(raw, [parseFilePattern(pattern)]) === 403) !== refused,
  )
  t.same(wrong, [])
})

t.test('configured patterns do not weaken the built-in names', async (t) => {
  const added = [parseFilePattern('id_rsa'), parseFilePattern('.env.example')]
  for (const name of NAMES) t.equal(answer(`/${name}`, added), 403, name)
  t.equal(answer('/.env.example', added), 403, 'but they can add one')
  t.equal(answer('/index.html', added), 'passes')
})

t.test('a pattern with a slash, or one that matches every file, is refused', async (t) => {
  for (const text of ['a/b', '/etc/passwd', 'a\\b']) t.throws(() => parseFilePattern(text), /slash/)
  for (const text of ['', '*', '**', '*.*', '.', '?', '*?', ' ', ' * ', '*.', '"*"', '[*]'])
    t.throws(() => parseFilePattern(text), /every file/, JSON.stringify(text))
})

t.test('16 KiB of a hostile target are checked in linear time', async (t) => {
  const units: ReadonlyArray<readonly [unit: string, before: string, after: string]> = [
    ['&', '/?', ''],
    ['a&', '/?', ''],
    ['=', '/?', ''],
    ['a=.&', '/?', ''],
    ['/', '/?a=', 'x'],
    ['/..', '/?a=', ''],
    ['../', '/?a=', '.en'],
    ['\\', '/?a=', ''],
    ['.', '/?a=', 'x'],
    ['+', '/?a=', 'x'],
    ['%20', '/?a=', 'x'],
    ['%20', '/', 'x'],
    [';', '/?a=', 'x'],
    [':', '/a', ''],
    ['"', '/?a=', 'x'],
    ['%00', '/?a=', ''],
    ['25', '/?a=%', '2eenv'],
    ['25', '/%', '41'],
    ['%25', '/?', ''],
    ['%', '/?', ''],
    ['%2', '/?', ''],
    ['%ff', '/?', ''],
    ['%C3%A9', '/', ''],
    ['%CC%81%CC%96', '/?a', ''],
    ['%EF%B7%BA', '/?', ''],
    ['%E2%80%8B', '/?', ''],
    ['%2f', '/?a=', ''],
    ['%26', '/?a=', ''],
    ['.env.example;', '/?a=', ''],
    ['x.key.', '/?a=', 'x'],
    ['.en', '/', ''],
  ]
  const added = [parseFilePattern('*a*a*a*a*a*a*b'), parseFilePattern('*.pem')]
  for (const [unit, before, after] of units) {
    const raw = before + unit.repeat(Math.floor((16 * 1024) / unit.length)) + after
    const elapsed = cpuMs(() => answer(raw, added))
    t.ok(elapsed < LINEAR_MS, `${before}${unit}…${after} took ${elapsed.toFixed(1)} ms`)
  }
})

t.test('a pattern with many stars is fast on a name that is made to slow it down', async (t) => {
  const pattern = parseFilePattern('*a*a*a*a*a*a*a*a*b')
  for (const raw of [`/${'a'.repeat(16_000)}`, `/?x=${'a'.repeat(16_000)}`]) {
    t.equal(answer(raw, [pattern]), 'passes')
    t.ok(cpuMs(() => answer(raw, [pattern])) < LINEAR_MS)
  }
})

t.test('a long run of combining marks costs less than its direct normalization', async (t) => {
  const marks = '%CC%81%CC%96'.repeat(1365)
  // Twenty times each, because some kernels count processor time in steps of 4 ms, longer than one of them takes.
  const twenty = (compute: () => unknown) => cpuMs(() => Array.from({ length: 20 }, compute))
  const plain = twenty(() => decodeURIComponent(marks).normalize('NFKC'))
  const cost = twenty(() => answer(`/${marks}`))
  t.ok(cost < plain, `${cost.toFixed(1)} ms, ${plain.toFixed(1)} ms`)
  t.equal(answer(`/x%CC%81${marks}.env`), 403)
  t.equal(answer(`/${'%CC%81'.repeat(30)}.env`), 403)
})
