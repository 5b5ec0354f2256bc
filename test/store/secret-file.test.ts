/** Whose folder may hold a secret, when is a secret created, and are all files closed again? */
import { chmodSync, chownSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import {
  ensureSecretFile,
  replaceSecretFile,
  SecretFileError,
} from '../../src/store/secret-file.ts'

function neverMade(): string {
  throw new Error('made although there is one')
}

t.test('an existing secret is used, and no new one is created', async (t) => {
  const file = join(t.testdir(), 'secret')
  chmodSync(join(file, '..'), 0o700)
  const openBefore = readdirSync('/proc/self/fd').length
  t.same(
    ensureSecretFile(file, () => 'first'),
    { secret: 'first', made: true },
  )
  t.same(ensureSecretFile(file, neverMade), { secret: 'first', made: false })
  replaceSecretFile(file, 'second')
  t.same(ensureSecretFile(file, neverMade), { secret: 'second', made: false })
  t.equal(readFileSync(file, 'utf8'), 'second\n')
  t.equal(readdirSync('/proc/self/fd').length, openBefore, 'nothing stays open')
})

t.test(
  'the folder must belong to this user or to root',
  { skip: process.geteuid?.() === 0 ? false : 'only root can give a folder away' },
  async (t) => {
    const rows: Array<[owner: number, own: number, isUsed: boolean]> = [
      [0, 0, true],
      [0, 1234, true],
      [1234, 1234, true],
      [1, 1234, false],
      [1, 0, false],
    ]
    for (const [owner, own, isUsed] of rows) {
      const folder = t.testdir()
      chmodSync(folder, 0o755)
      chownSync(folder, owner, owner)
      const { restore } = t.intercept(process, 'geteuid', { value: () => own })
      const ensure = () => ensureSecretFile(join(folder, 'secret'), () => 'secret')
      if (isUsed) t.same(ensure(), { secret: 'secret', made: true }, `${owner} ${own}`)
      else t.throws(ensure, SecretFileError, `${owner} ${own}`)
      restore()
      t.same(readdirSync(folder), isUsed ? ['secret'] : [])
    }
  },
)
