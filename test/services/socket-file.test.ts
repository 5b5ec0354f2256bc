/** Who can open a Unix socket of ours, and what becomes of the file that is there already? */
import { once } from 'node:events'
import { existsSync, linkSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:net'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { ALIVE_MS, canConnect } from '../../src/services/can-connect.ts'
import { openSocketFile } from '../../src/services/socket-file.ts'
import { temporaryFolder } from '../helpers/process.ts'

/** The path of a socket on which nobody listens. */
async function staleSocket(t: Test): Promise<string> {
  const folder = temporaryFolder(t)
  const path = join(folder, 'a.sock')
  const server = createServer().listen(join(folder, 'dead.sock'))
  await once(server, 'listening')
  linkSync(join(folder, 'dead.sock'), path)
  server.close()
  await once(server, 'close')
  return path
}

const modeOf = (path: string) => statSync(path).mode & 0o777

/** Listens on a path. @param atOnce is called when the file is there, before the mode was set */
async function listenOn(t: Test, path: string, atOnce = () => {}): Promise<Server> {
  const server = createServer((socket) => socket.on('error', () => {}))
  t.teardown(() => server.close())
  await openSocketFile(path, async () => {
    const listening = once(server, 'listening')
    server.listen({ path, exclusive: true })
    atOnce()
    await listening
  })
  return server
}

t.test('two that start at once over a stale file: one listens, the other is refused', async (t) => {
  const path = await staleSocket(t)
  t.notOk(await canConnect({ path }, ALIVE_MS), 'stale')
  const results = await Promise.allSettled([1, 2, 3].map(() => listenOn(t, path)))
  const refused = results.filter(({ status }) => status === 'rejected')
  t.equal(refused.length, 2)
  t.match(refused, [{ reason: { code: 'EADDRINUSE' } }, { reason: { code: 'EADDRINUSE' } }])
  t.ok(await canConnect({ path }, ALIVE_MS), 'one can be reached')
  t.equal(modeOf(path), 0o600)
})

t.test('a socket that another has made meanwhile is put back', async (t) => {
  const path = await staleSocket(t)
  const late = listenOn(t, path) // has tried to connect by now, in vain
  rmSync(path)
  const first = createServer((socket) => socket.on('error', () => {})).listen(path)
  t.teardown(() => first.close())
  await t.rejects(late, { code: 'EADDRINUSE' })
  t.ok(await canConnect({ path }, ALIVE_MS), 'the first one can be reached')
  t.same(readdirSync(join(path, '..')), ['a.sock'], 'nothing else is left')
  first.close()
  await once(first, 'close')
  t.notOk(existsSync(path), 'it goes with its process')
})

t.test('the same file is replaced by one that starts alone', async (t) => {
  const path = await staleSocket(t)
  await listenOn(t, path)
  t.ok(await canConnect({ path }, ALIVE_MS))
  t.same(readdirSync(join(path, '..')), ['a.sock'])
})

t.test('it is for its owner only, from the moment that the file is there', async (t) => {
  const path = join(temporaryFolder(t), 'a.sock')
  const before = process.umask(0)
  t.teardown(() => process.umask(before))
  let first: number | undefined
  await listenOn(t, path, () => (first = modeOf(path)))
  t.equal(first, 0o600)
  t.equal(modeOf(path), 0o600)
  t.equal(process.umask(), 0, 'other files are made as before')
})

t.test('a socket that somebody listens on, and a file of another kind, stay', async (t) => {
  const path = join(temporaryFolder(t), 'a.sock')
  const server = await listenOn(t, path)
  const { ino } = statSync(path)
  const umask = process.umask()
  await t.rejects(listenOn(t, path), { code: 'EADDRINUSE' })
  t.equal(statSync(path).ino, ino)
  t.equal(process.umask(), umask, 'also when nobody listens')
  t.ok(server.listening)
  const file = join(temporaryFolder(t), 'file')
  writeFileSync(file, 'precious')
  await t.rejects(listenOn(t, file), { code: 'EADDRINUSE' })
  t.ok(existsSync(file))
})
