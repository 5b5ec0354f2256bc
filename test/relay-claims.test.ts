/** Is every claim about the relay proved by a test that exists, under the title that the page gives? */
import { existsSync, readFileSync } from 'node:fs'
import t from 'tap'

const page = readFileSync('docs/relay-claims.md', 'utf8')

/** The rows of all tables: their four cells. */
const ROWS = page
  .split('\n')
  .filter((line) => /^\| [A-Z]\d+ \|/.test(line))
  .map((line) =>
    line
      .slice(1, -1)
      .split(' | ')
      .map((cell) => cell.trim()),
  )

/** The tests that a cell names: the file, and the title. */
const testsIn = (text: string) =>
  [...text.matchAll(/`(test\/[^`]+\.test\.ts)`: "([^"]+)"/g)].map(([, file = '', title = '']) => ({
    file,
    title,
  }))

/** Whether a file has a test with this title: as the first argument of a test, or in a table of tests. */
function hasTest(code: string, title: string): boolean {
  const literals = [`'${title}'`, `"${title}"`, `\`${title}\``]
  return literals.some((literal) => code.includes(`${literal},`))
}

t.test('every claim has a number of its own, a file that makes it true, and a proof', (t) => {
  t.ok(ROWS.length > 40)
  t.equal(new Set(ROWS.map(([id]) => id)).size, ROWS.length)
  for (const [id = '', , made = '', proof = '', ...more] of ROWS) {
    t.equal(more.length, 0, `${id} has four cells`)
    const files = [...made.matchAll(/`([^`]+)`/g)].map(([, file = '']) => file)
    t.ok(files.length > 0, id)
    for (const file of files) t.ok(existsSync(file), `${id}: ${file}`)
    const tests = testsIn(proof)
    t.ok(tests.length > 0, `${id} is proved`)
    t.equal(proof.split('; ').length, tests.length, `${id}: each proof is a file and a title`)
  }
  t.end()
})

t.test('every test that a claim names exists, with that title', (t) => {
  for (const [id = '', , , proof = ''] of ROWS)
    for (const { file, title } of testsIn(proof)) {
      t.ok(existsSync(file), `${id}: ${file}`)
      if (existsSync(file))
        t.ok(hasTest(readFileSync(file, 'utf8'), title), `${id}: ${file}: ${title}`)
    }
  t.end()
})

t.test('every file with attacks of the relay is named by a claim', (t) => {
  for (const file of [
    'attacks-on-records',
    'attacks-on-meetings',
    'links-and-devices',
    'nothing-learnt',
    'same-rules',
  ])
    t.match(page, `test/relay/${file}.test.ts`)
  t.end()
})
