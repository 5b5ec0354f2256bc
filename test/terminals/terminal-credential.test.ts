/** Which terminal credentials are accepted, who can read the file, and is it replaced only on demand? */
import { execFileSync } from 'node:child_process'
import {
  chmod,
  chown,
  lstat,
  mkdir,
  readFile,
  readdir,
  readlink,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import {
  ensureTerminalCredential,
  rotateTerminalCredential,
} from '../../src/terminals/terminal-credential.ts'

const isRoot = process.geteuid?.() === 0

/** A state folder whose credential file has this content. */
async function stateFolder(t: Test, content?: string, mode = 0o600) {
  const folder = t.testdir()
  await chmod(folder, 0o700)
  const file = join(folder, 'terminal-credential')
  if (content !== undefined) {
    await writeFile(file, content)
    await chmod(file, mode)
  }
  return { folder, file }
}

t.test(
  'the first call creates a file that only its owner can read, in a private folder',
  async (t) => {
    const folder = join(t.testdir(), 'state')
    const file = join(folder, 'terminal-credential')
    const { secret, made } = await ensureTerminalCredential(folder)
    t.ok(made)
    t.match(secret, /^user:[\w-]{24}$/)
    t.equal((await stat(file)).mode & 0o777, 0o600)
    t.equal((await stat(folder)).mode & 0o777, 0o700)
    t.equal(await readFile(file, 'utf8'), `${secret}\n`)
    t.same(await readdir(folder), ['terminal-credential'], 'nothing else is left there')
  },
)

t.test('the second call uses the credential of the first', async (t) => {
  const folder = join(t.testdir(), 'state')
  const { secret } = await ensureTerminalCredential(folder)
  t.same(await ensureTerminalCredential(folder), { secret, made: false })
})

t.test('concurrent calls return the same credential', async (t) => {
  const { folder, file } = await stateFolder(t)
  const calls = await Promise.all(
    Array.from({ length: 8 }, async () => await ensureTerminalCredential(folder)),
  )
  t.equal(new Set(calls.map(({ secret }) => secret)).size, 1)
  t.equal(calls.filter(({ made }) => made).length, 1)
  t.equal(calls[0]?.secret, (await readFile(file, 'utf8')).trimEnd())
})

t.test('a file that other users can read is refused, and not changed', async (t) => {
  for (const mode of [0o640, 0o604, 0o660, 0o777]) {
    const { folder, file } = await stateFolder(t, 'user:password', mode)
    await t.rejects(ensureTerminalCredential(folder), {
      name: 'SecretFileError',
      message: /can be read by others \(mode 0\d{3}\)/,
    })
    t.equal(await readFile(file, 'utf8'), 'user:password')
  }
})

t.test('a file of another user is refused', { skip: !isRoot && 'needs root' }, async (t) => {
  const { folder, file } = await stateFolder(t, 'user:password')
  await chown(file, 65_534, 65_534)
  await t.rejects(ensureTerminalCredential(folder), {
    name: 'SecretFileError',
    message: /belongs to another user \(65534, and this is 0\)/,
  })
})

t.test(
  "no file is created in another user's folder",
  { skip: !isRoot && 'needs root' },
  async (t) => {
    const { folder } = await stateFolder(t)
    await chown(folder, 65_534, 65_534)
    const message = /belongs to another user/
    await t.rejects(ensureTerminalCredential(folder), { name: 'SecretFileError', message })
    await t.rejects(rotateTerminalCredential(folder), { name: 'SecretFileError', message })
    t.same(await readdir(folder), [])
  },
)

t.test('a file that is not regular is refused, and does not block', async (t) => {
  const { folder, file } = await stateFolder(t)
  const elsewhere = join(folder, 'elsewhere')
  await symlink(elsewhere, file)
  const refused = async (message: RegExp) =>
    await t.rejects(ensureTerminalCredential(folder), { name: 'SecretFileError', message })
  await refused(/terminal-credential is a link/)
  t.same(await readdir(folder), ['terminal-credential'], 'nothing was made where it points to')
  await writeFile(elsewhere, 'user:password', { mode: 0o600 })
  await refused(/terminal-credential is a link/)

  const pipe = join(t.testdir({ pipe: {} }), 'pipe')
  execFileSync('mkfifo', ['-m', '600', join(pipe, 'terminal-credential')])
  await t.rejects(ensureTerminalCredential(pipe), { message: /is not a regular file/ })

  const nested = join(t.testdir({ nested: { 'terminal-credential': {} } }), 'nested')
  await t.rejects(ensureTerminalCredential(nested), { name: 'SecretFileError' })
})

t.test('no secret is written to a folder in which others can write', async (t) => {
  const folder = join(t.testdir(), 'open')
  await mkdir(folder)
  await chmod(folder, 0o777)
  await t.rejects(ensureTerminalCredential(folder), { name: 'SecretFileError' })
  await t.rejects(rotateTerminalCredential(folder), { name: 'SecretFileError' })
  t.same(await readdir(folder), [])
})

t.test('a content that is not user:password is refused, without showing it', async (t) => {
  for (const content of [
    '',
    'hunter2',
    ':hunter2',
    'user:',
    'user:hunter2\nmore',
    'user:\u0007hunter2',
    `user:hunter2${'x'.repeat(5000)}`,
  ]) {
    const { folder } = await stateFolder(t, content)
    const error = await ensureTerminalCredential(folder).catch((reason: Error) => reason)
    t.match(error, { name: 'SecretFileError', message: /form user:password|too long/ })
    t.notMatch((error as Error).message, 'hunter2')
  }
})

t.test(
  'a password may contain colons and spaces, and the file may have no final newline',
  async (t) => {
    const { folder } = await stateFolder(t, 'me:a: b')
    t.same(await ensureTerminalCredential(folder), { secret: 'me:a: b', made: false })
  },
)

t.test('a rotation replaces the credential, also if others could read the old file', async (t) => {
  for (const mode of [0o600, 0o644]) {
    const { folder, file } = await stateFolder(t, 'user:password', mode)
    const fresh = await rotateTerminalCredential(folder)
    t.match(fresh, /^user:[\w-]{24}$/)
    t.same(await ensureTerminalCredential(folder), { secret: fresh, made: false })
    t.equal((await stat(file)).mode & 0o777, 0o600)
    t.same(await readdir(folder), ['terminal-credential'])
  }
})

t.test('a rotation does not follow a link', async (t) => {
  const { folder, file } = await stateFolder(t)
  const elsewhere = join(folder, 'elsewhere')
  await writeFile(elsewhere, 'mine')
  await symlink(elsewhere, file)
  t.equal(await readlink(file), elsewhere)
  await rotateTerminalCredential(folder)
  t.ok((await lstat(file)).isFile())
  t.equal(await readFile(elsewhere, 'utf8'), 'mine')
})

t.test('a reader always finds a complete credential during rotations', async (t) => {
  const { folder } = await stateFolder(t)
  const rotations = { running: true }
  const rotated = (async () => {
    for (let round = 0; round < 50; round++) await rotateTerminalCredential(folder)
    rotations.running = false
  })()
  let reads = 0
  // An incomplete credential would be an error.
  for (; rotations.running; reads++) await ensureTerminalCredential(folder)
  await rotated
  t.ok(reads > 0)
})
