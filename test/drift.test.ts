/** Do the documents say what the code does? */
import { existsSync, globSync, readFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import t from 'tap'
import { PAGES } from '../docs/generate.ts'
import { KNOWN_VARIABLES } from '../src/config/load.ts'
import { ERRORS } from '../src/answers/errors.ts'
import { FILE_ENDINGS, FILE_PARTS, FILE_WORDS } from '../src/rules/file-parameters.ts'
import { helpText } from '../src/commands/help.ts'
import { VERSION as OPENCLAW_VERSION } from './neighbours/openclaw.ts'

const read = (path: string) => readFileSync(path, 'utf8')

t.test('generated pages are what the declarations say', async (t) => {
  for (const [path, page] of Object.entries(PAGES))
    t.equal(read(path), page(), `${path}: run npm run docs`)
})

t.test('every setting that a document names exists, and help names every setting', async (t) => {
  for (const path of ['README.md', 'SECURITY.md', 'CHANGELOG.md', ...globSync('docs/*.md')]) {
    const text = read(path).replace(/^.* is not a setting;/gm, '') // a transcript of a typing error
    for (const [name] of text.matchAll(/GATEWAY_[A-Z_]*[A-Z]/g)) {
      t.ok(KNOWN_VARIABLES.includes(name), `${path} names ${name}`)
    }
  }
  for (const name of KNOWN_VARIABLES) t.match(helpText(), name)
})

t.test('every error code is provoked by a test', async (t) => {
  const tests = globSync('test/**/*.test.ts')
    .filter((path) => !path.endsWith('drift.test.ts'))
    .map(read)
    .join('\n')
  for (const code of Object.keys(ERRORS)) t.ok(tests.includes(`'${code}'`), `${code} is in no test`)
})

t.test('the request path in README names every stage, in order', async (t) => {
  const stages = globSync('plugins/[0-9]-*.ts')
    .map((path) => basename(path, '.ts').replace('-', ' ').replaceAll('-', ' '))
    .toSorted()
  const drawn = [...read('README.md').matchAll(/^ {2}([0-9] [a-z ]+?) {2,}/gm)].map(
    ([, stage]) => stage,
  )
  t.same(drawn, stages)
})

t.test('every plugin and route is on the request path', async (t) => {
  const gateway = read('src/gateway.ts')
  const proxied = read('routes/proxied.ts')
  const isOnPath = (path: string) =>
    gateway.includes(`'../${path}'`) || proxied.includes(`'./${basename(path)}'`)
  for (const path of globSync(['plugins/*.ts', 'routes/*.ts'])) t.ok(isOnPath(path), path)
})

t.test('the page about sensitive files names every parameter that names a file', async (t) => {
  const [, lists = ''] = read('docs/sensitive-files.md').split('\nParts:')
  t.same(
    [...lists.matchAll(/`([a-z]+)`/g)].map(([, name]) => name),
    [...FILE_PARTS, ...FILE_ENDINGS, ...FILE_WORDS],
  )
})

t.test('the links of the documents lead somewhere', async (t) => {
  for (const path of ['README.md', 'SECURITY.md', 'CHANGELOG.md', ...globSync('docs/*.md')]) {
    for (const [, link = ''] of read(path).matchAll(/\]\(((?!https?:)[^)#]+)/g))
      t.ok(existsSync(join(dirname(path), link)), `${path}: ${link}`)
  }
})

t.test('the versions of the neighbours are those that are installed', async (t) => {
  const page = read('docs/compatibility.md')
  const { dependencies } = JSON.parse(read('test/neighbours/next-app/package.json')) as {
    dependencies: Record<string, string>
  }
  t.match(page, `| OpenClaw | ${OPENCLAW_VERSION} |`)
  t.match(page, `| Next.js | ${dependencies['next']}, with React ${dependencies['react']} |`)
})

t.test('the error pages and the code list agree on what the contract names', async (t) => {
  t.equal(Object.keys(ERRORS).length, new Set(Object.keys(ERRORS)).size)
  for (const [code, { status }] of Object.entries(ERRORS))
    t.match(read('docs/errors.md'), `| \`${code}\` | ${status} |`)
})
