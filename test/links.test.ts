/** Do the links of the documents lead to a file and heading that exist, and do the files exist that guides and comments name? */
import { existsSync, globSync, readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import t from 'tap'

const PAGES = globSync(['*.md', 'docs/**/*.md', 'bench/*.md', 'examples/**/*.md']).toSorted()

const read = (path: string) => readFileSync(path, 'utf8')

/** The text of a page without code blocks, whose brackets and hashes are no links and no headings. */
const prose = (path: string) => read(path).replace(/^```[^]*?^```/gm, '')

/** Every link that leads into the project: its file, from the project's root, and the heading, if it names one. */
const linksOf = (path: string) =>
  [...prose(path).matchAll(/\]\(((?!https?:|mailto:)[^)\s]+)\)/g)].map(([, link = '']) => {
    const [file = '', heading] = link.split('#')
    return { file: file === '' ? path : normalize(join(dirname(path), file)), heading }
  })

/** The names that GitHub gives the headings of a page. */
function headingsOf(path: string): string[] {
  const names = new Map<string, number>()
  return [...prose(path).matchAll(/^#+ (.*)$/gm)].map(([, text = '']) => {
    const name = text
      .replace(/\[([^\]]*)\]\([^)]*\)/g, '$1')
      .toLowerCase()
      .replace(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-')
    const seen = names.get(name) ?? 0
    names.set(name, seen + 1)
    return seen === 0 ? name : `${name}-${seen}`
  })
}

t.test('every link leads to a file that exists, and to a heading of it', async (t) => {
  t.ok(PAGES.length > 20)
  for (const page of PAGES)
    for (const { file, heading } of linksOf(page)) {
      t.ok(existsSync(file), `${page} links to ${file}`)
      if (heading !== undefined && existsSync(file))
        t.ok(headingsOf(file).includes(heading), `${page} links to ${file}#${heading}`)
    }
})

t.test('every page is reached by links from README', async (t) => {
  const reached = new Set(['README.md'])
  for (const page of reached)
    for (const { file } of linksOf(page)) if (PAGES.includes(file)) reached.add(file)
  t.same(
    PAGES.filter((page) => !reached.has(page)),
    [],
  )
})

/** The pages that say where things are; what they name in backticks is a file, a folder or a pattern of files. */
const GUIDES = ['CONTRIBUTING.md', 'docs/architecture.md', ...globSync('docs/decisions/*.md')]

t.test('every file that a guide names exists', async (t) => {
  const named = (text: string) => [
    ...text.matchAll(
      /`((?:(?:src|plugins|routes|embedded|build|bench|test|docs|examples|\.ci|\.vscode|\.devcontainer)\/|\.?[A-Za-z][\w-]*\.(?:json|md)\b)[\w.*/-]*)`/g,
    ),
  ]
  for (const guide of GUIDES) {
    const paths = named(read(guide)).map(([, path = '']) => path)
    for (const path of paths)
      t.ok(path.includes('*') ? globSync(path).length > 0 : existsSync(path), `${guide}: ${path}`)
  }
  t.ok(named(read('CONTRIBUTING.md')).length > 20)
})

/** The text of every comment, with the file and the line that it stands in. */
const COMMENTS = globSync(['{src,plugins,routes,embedded,build,bench,docs,test}/**/*.ts'])
  .toSorted()
  .filter((path) => !path.startsWith('test/neighbours/next-app/'))
  .flatMap((path) =>
    read(path)
      .split('\n')
      .map((line, i) => ({
        path,
        at: `${path}:${i + 1}`,
        text: /^\s*\/?\*.*|(?<!:)\/\/ .*/.exec(line)?.[0],
      })),
  )

t.test('every file that a comment names exists, from the root or beside it', async (t) => {
  let count = 0
  for (const { path, at, text = '' } of COMMENTS)
    for (const [name] of text.matchAll(/(?<![\w@/.-])(?:[\w.-]+\/)*[\w-][\w.-]*\.(?:ts|md)\b/g)) {
      count++
      if (!existsSync(name) && !existsSync(join(dirname(path), name))) t.fail(`${at}: ${name}`)
    }
  t.ok(count > 50, String(count))
})

t.test('a stage says its number in the header of its file; comments say its name', async (t) => {
  const headers: string[] = []
  for (const { at, text = '' } of COMMENTS) {
    const [, number] = /\bstages? ([0-9]+)\b/i.exec(text) ?? []
    if (number === undefined || !/^(?:src|plugins|routes)\//.test(at)) continue
    const [, file] = /^plugins\/([0-9]+)-[^:]*:[12]$/.exec(at) ?? []
    t.equal(file, number, `${at}: a number is wrong as soon as a stage is inserted`)
    headers.push(number)
  }
  t.equal(headers.length, globSync('plugins/[0-9]*.ts').length)
})
