/** Does the ledger know every attack, and do the docs admit every one that succeeds? */
import { globSync, readFileSync } from 'node:fs'
import { basename } from 'node:path'
import t from 'tap'
import { attacksOf, LEDGER, PROMISED, verdict } from './ledger.ts'

const FOLDER = 'test/vault/gallery'

/** One line, without the marks of Markdown that do not change the words. */
const plain = (text: string) => text.replaceAll('**', '').replaceAll(/\s+/g, ' ')

const [, section = ''] = readFileSync('docs/vault.md', 'utf8').split(
  '## What it does not protect from\n',
)

t.test('every file of the gallery is in the ledger, and the other way round', async (t) => {
  const files = globSync(`${FOLDER}/*.test.ts`)
    .map((path) => basename(path))
    .filter((file) => file !== 'ledger.test.ts')
  t.same(Object.keys(LEDGER), files.toSorted())
  t.throws(() => attacksOf('other.test.ts'), /not in test\/vault\/gallery\/ledger\.ts/)
})

t.test('every file runs where the ledger says', async (t) => {
  for (const [file, { place }] of Object.entries(LEDGER)) {
    const code = readFileSync(`${FOLDER}/${file}`, 'utf8')
    t.match(code, /\brun(?:AgainstVault|Attacks)\(\s*import\.meta\.url/, `${file} has one function`)
    t.notMatch(code, /\bt\.test\(/, `${file} runs nothing beside it`)
    const isProcess = /\b(?:runAgainstVault|startRunningVault)\(/.test(code)
    t.equal(isProcess, place === 'vault process', file)
  }
})

t.test('every attack that was promised to be held is tried, and held', async (t) => {
  for (const [attack, [file, ...names]] of Object.entries(PROMISED)) {
    t.ok(names.length > 0, attack)
    for (const name of names) t.equal(attacksOf(file)[name], 'held', `${attack}: ${name}`)
  }
})

t.test('every known hole stands in docs/vault.md', async (t) => {
  t.not(section, '')
  for (const { attacks } of Object.values(LEDGER))
    for (const [name, expected] of Object.entries(attacks))
      if (expected !== 'held')
        t.ok(plain(section).includes(expected.admittedBy), `${name}: ${expected.admittedBy}`)
})

t.test('an attack that does not end as the ledger expects is a failure', async (t) => {
  const hole = { admittedBy: 'It is not found.' }
  t.equal(verdict('held', false), undefined)
  t.equal(verdict(hole, true), undefined)
  t.match(verdict('held', true), /has succeeded/)
  t.match(
    verdict(hole, false),
    /move it to held, and take the sentence out of the docs: It is not found\./,
  )
})
