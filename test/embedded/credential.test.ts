/** Which terminal credentials are accepted, and who can read the file? */
import { chmod, mkdir, readFile, readdir, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { ensureCredential } from '../../embedded/credential.ts'

t.test(
  'a first run makes a file that only its owner can read, in a folder of its own',
  async (t) => {
    const folder = join(t.testdir(), 'state')
    const file = join(folder, 'terminal-credential')
    const credential = await ensureCredential(file)
    t.match(credential, /^user:[\w-]{24}$/)
    t.equal((await stat(file)).mode & 0o777, 0o600)
    t.equal((await stat(folder)).mode & 0o777, 0o700)
    t.equal(await readFile(file, 'utf8'), `${credential}\n`)
    t.same(await readdir(folder), ['terminal-credential'], 'nothing else is left there')
  },
)

t.test('the second run uses what the first one made', async (t) => {
  const file = join(t.testdir(), 'state', 'terminal-credential')
  t.equal(await ensureCredential(file), await ensureCredential(file))
})

t.test('starts at the same time agree on one credential', async (t) => {
  const file = join(t.testdir(), 'state', 'terminal-credential')
  const starts = Array.from({ length: 8 }, async () => await ensureCredential(file))
  const credentials = new Set(await Promise.all(starts))
  t.equal(credentials.size, 1)
  t.ok(credentials.has((await readFile(file, 'utf8')).trimEnd()))
})

t.test('a file that others can read is refused', async (t) => {
  for (const mode of [0o640, 0o604, 0o660, 0o777]) {
    const file = join(t.testdir({ credential: 'user:password' }), 'credential')
    await chmod(file, mode)
    await t.rejects(ensureCredential(file), {
      name: 'SecretFileError',
      message: /can be read by others \(mode 0\d{3}\)/,
    })
  }
})

t.test('a folder that others can write to gets no secret', async (t) => {
  const folder = join(t.testdir(), 'open')
  await mkdir(folder)
  await chmod(folder, 0o777)
  await t.rejects(ensureCredential(join(folder, 'credential')), { name: 'SecretFileError' })
  t.same(await readdir(folder), [])
})

t.test('what is not of the form user:password is refused, without being shown', async (t) => {
  const file = join(t.testdir(), 'credential')
  for (const content of [
    '',
    'hunter2',
    ':hunter2',
    'user:',
    'user:hunter2\nmore',
    'user:\u0007hunter2',
  ]) {
    await writeFile(file, content, { mode: 0o600 })
    const error = await ensureCredential(file).catch((reason: Error) => reason)
    t.match(
      error,
      { name: 'SecretFileError', message: /form user:password/ },
      JSON.stringify(content),
    )
    t.notMatch((error as Error).message, 'hunter2')
  }
})

t.test('a password may hold colons and spaces, and the file may lack a last newline', async (t) => {
  const file = join(t.testdir(), 'credential')
  await writeFile(file, 'me:a: b', { mode: 0o600 })
  t.equal(await ensureCredential(file), 'me:a: b')
})
