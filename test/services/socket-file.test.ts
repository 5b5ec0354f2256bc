/** Who can open a Unix socket of ours, and what becomes of the file that is there already? */
import { once } from 'node:events'
import { existsSync, statSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:net'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { openSocketFile } from '../../src/services/socket-file.ts'
import { temporaryFolder } from '../helpers/process.ts'

const modeOf = (path: string) => statSync(path).mode & 0o777

/** Listens as our servers do. */
async function listenOn(t: Test, path: string, atOnce = () => {}): Promise<Server> {
  const server = createServer()
  t.teardown(() => server.close())
  const listening = once(server, 'listening')
  server.listen({ path, exclusive: true })
  atOnce()
  await listening
  return server
}

t.test('it is for its owner only, from the moment that the file is there', async (t) => {
  const path = join(temporaryFolder(t), 'a.sock')
  const before = process.umask(0)
  t.teardown(() => process.umask(before))
  let first: number | undefined
  await openSocketFile(path, () => listenOn(t, path, () => (first = modeOf(path))))
  t.equal(first, 0o600)
  t.equal(modeOf(path), 0o600)
  t.equal(process.umask(), 0, 'other files are made as before')
})

t.test('a socket that somebody listens on, and a file of another kind, stay', async (t) => {
  const path = join(temporaryFolder(t), 'a.sock')
  const server = await listenOn(t, path)
  const { ino } = statSync(path)
  const umask = process.umask()
  await t.rejects(
    openSocketFile(path, () => listenOn(t, path)),
    { code: 'EADDRINUSE' },
  )
  t.equal(statSync(path).ino, ino)
  t.equal(process.umask(), umask, 'also when nobody listens')
  t.ok(server.listening)
  const file = join(temporaryFolder(t), 'file')
  writeFileSync(file, 'precious')
  await t.rejects(
    openSocketFile(file, () => listenOn(t, file)),
    { code: 'EADDRINUSE' },
  )
  t.ok(existsSync(file))
})
