/** Does exactly one of several processes get a Unix socket whose file a dead process has left? */
import { once } from 'node:events'
import { existsSync, linkSync, readdirSync, rmSync, statSync } from 'node:fs'
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

/** Listens on a path. */
async function listenOn(t: Test, path: string): Promise<Server> {
  const server = createServer((socket) => socket.on('error', () => {}))
  t.teardown(() => server.close())
  await openSocketFile(path, async () => {
    server.listen(path)
    await once(server, 'listening')
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
  t.equal(statSync(path).mode & 0o777, 0o600)
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
