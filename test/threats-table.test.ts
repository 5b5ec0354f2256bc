/** Does every attack that we know of have its row, and every row its tests? */
import { existsSync, globSync, readFileSync } from 'node:fs'
import { basename } from 'node:path'
import t from 'tap'

const page = readFileSync('docs/threats.md', 'utf8')

/** The rows of all tables: their cells, without the heads. */
const rows = page
  .split('\n')
  .filter((line) => /^\| (?:[A-GLRV]\d|CVE-|GHSA-)/.test(line))
  .map((line) =>
    line
      .slice(1, -1)
      .split('|')
      .map((cell) => cell.trim()),
  )

const testsIn = (text: string) =>
  [...text.matchAll(/`(test\/[^`]+)`/g)].map(([, path = '']) => path)

/** How many attacks there are under each letter. */
const LETTERS = { A: 11, B: 13, C: 18, D: 22, E: 10, F: 8, G: 5, V: 13, R: 23, L: 14 }

t.test('every attack has exactly one row', async (t) => {
  const expected = Object.entries(LETTERS).flatMap(([letter, count]) =>
    Array.from({ length: count }, (_, i) => `${letter}${i + 1}`),
  )
  const ids = rows.map(([id = '']) => id)
  t.same(
    ids.filter((id) => /^[A-GLRV]/.test(id) && !id.includes('-')),
    expected,
  )
  for (const cells of rows) t.equal(cells.length, 4, `${cells[0]} has four cells`)
})

t.test('every row is proved by a test, or says why that is for later', async (t) => {
  for (const [id, , defence = '', proof = ''] of rows)
    t.ok(testsIn(proof).length > 0 || /\blater: /.test(defence), id ?? '')
})

t.test('every test that is named exists', async (t) => {
  for (const path of testsIn(page)) t.ok(existsSync(path), path)
})

t.test('every published hole has its row, and every row its file', async (t) => {
  const files = globSync('test/advisories/*.test.ts').toSorted()
  const listed = rows
    .filter(([id = '']) => id.includes('-'))
    .map(([id = '', , , proof = '']) => {
      t.equal(basename(proof.slice(1, -1), '.test.ts'), id.replace('*', ''))
      return proof.slice(1, -1)
    })
  t.same(listed.toSorted(), files)
  for (const path of files) {
    const id = basename(path, '.test.ts')
    t.ok(
      readFileSync(path, 'utf8').startsWith(`/** ${id}`),
      `${id} begins with what happened there`,
    )
  }
})
