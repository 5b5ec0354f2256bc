/** Does each backup code count once, however it is typed, and is it kept nowhere? */
import t from 'tap'
import {
  backupCodeIn,
  backupDigest,
  makeBackupCodes,
} from '../../../src/identity/second-factor/backup-codes.ts'
import { factorsInMemory } from '../../helpers/factors.ts'

t.test('ten codes of 80 bits, each another', async (t) => {
  const { codes, key, digests } = makeBackupCodes()
  t.equal(codes.length, 10)
  t.equal(new Set(codes).size, 10)
  for (const code of codes) t.match(code, /^(?:[0-9a-hjkmnp-tv-z]{4}-){3}[0-9a-hjkmnp-tv-z]{4}$/)
  t.equal(key.length, 32)
  t.same(digests[3], backupDigest(key, codes[3]?.replaceAll('-', '') ?? ''))
  const seen = new Set(Array.from({ length: 200 }, () => makeBackupCodes().codes.join('')).join(''))
  t.equal(seen.size, 33, 'every character occurs, and the hyphen')
})

t.test('a code is read however it is typed', async (t) => {
  t.equal(backupCodeIn(' 0K3F 9X2M-7qtz  P4CV '), '0k3f9x2m7qtzp4cv')
  t.equal(backupCodeIn('OIlL-oooo-0000-1111'), '0111000000001111')
  for (const text of ['', '0k3f', 'u'.repeat(16), '0'.repeat(15), '0'.repeat(17), 'é'.repeat(16)])
    t.equal(backupCodeIn(text), undefined, text)
})

t.test('each counts once, of 50 uses at once one, and new ones replace them', async (t) => {
  const { show, addApp, factors } = factorsInMemory(t)
  const { backupCodes } = addApp()
  const [first = '', second = ''] = backupCodes
  t.equal(await show(first), 'done')
  t.equal(await show(first), 'code-used')
  const verdicts = await Promise.all(Array.from({ length: 50 }, () => show(second)))
  t.equal(verdicts.filter((one) => one === 'done').length, 1)
  t.equal(verdicts.filter((one) => one === 'code-used').length, 49)
  t.equal(factors.enrolmentOf('alice').backupCodes?.left, 8)
  const made = factors.newBackupCodes('alice')
  if (!made.isDone) throw new Error(made.reason)
  t.equal(await show(backupCodes[2] ?? ''), 'wrong-code', 'those before')
  t.equal(await show(made.backupCodes?.[9]?.toUpperCase() ?? ''), 'done')
  t.equal(factors.enrolmentOf('alice').backupCodes?.left, 9)
  t.match(factors.newBackupCodes('bob'), { reason: 'not-enrolled' })
})

t.test('a code of somebody else is wrong', async (t) => {
  const { show, addApp } = factorsInMemory(t)
  const { backupCodes } = addApp()
  addApp('bob')
  t.equal(await show(backupCodes[0] ?? '', 'bob'), 'wrong-code')
  t.equal(await show(backupCodes[0] ?? ''), 'done')
})
