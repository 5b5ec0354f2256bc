/** Can an agent that opens whatever it can keep the owner out? No: file descriptors are kept for the owner's door. */
import { spawn } from 'node:child_process'
import t from 'tap'
import { openFilesLimit } from '../../../src/limits/open-files.ts'
import { roomFor } from '../../../src/vault/doors/room.ts'
import { MAIN, watch } from '../../helpers/process.ts'
import { openSocket, startRunningVault } from '../../helpers/running-vault.ts'
import { startUpstream } from '../../helpers/upstream.ts'
import { ask } from '../../helpers/vault-doors.ts'
import { eventually, openFiles } from '../../helpers/waiting.ts'

t.test('the room of an agent grows with the limit of open files, up to 256 connections', (t) => {
  const two = { agents: 2, hasPort: false, isShared: false }
  const withPort = { ...two, hasPort: true }
  t.same(roomFor(Infinity, withPort), { agent: 256, port: 1024, workspaces: 16 })
  t.same(roomFor(1_048_576, { ...withPort, agents: 20 }), {
    agent: 256,
    port: 1024,
    workspaces: 16,
  })
  t.same(roomFor(1024, two), { agent: 154, port: 616, workspaces: 16 })
  t.match(roomFor(200, two), {
    agent: 17,
    warning: /may have 200 files open.*17 connections instead of 256.*1632 with "ulimit -n"/,
  })
  t.match(roomFor(20, { ...withPort, agents: 3 }), { agent: 4, port: 16, warning: /ulimit -n/ })
  t.same(roomFor(1024, { ...two, agents: 0 }), { agent: 256, port: 1024, workspaces: 16 })
  const shared = { ...two, isShared: true }
  t.same(roomFor(1_048_576, shared), { agent: 256, port: 1024, workspaces: 1024 })
  t.match(roomFor(200, shared), { agent: 5, workspaces: 20, warning: /4704 with "ulimit -n"/ })
  t.ok(openFilesLimit() > openFiles())
  t.end()
})

t.test('with 200 open files, an agent that opens all it can leaves the owner room', async (t) => {
  const service = await startUpstream(t, () => {}) // never answers
  const vault = await startRunningVault(t, {}, (env) => {
    const command = ['env', '-u', 'NODE_OPTIONS', process.execPath, MAIN, 'vault']
    const limited = ['-c', 'ulimit -n 200 && exec "$@"', 'sh', ...command]
    return watch(t, spawn('sh', limited, { env, stdio: ['ignore', 'pipe', 'pipe'] }))
  })
  t.match(vault.program.stdout(), /may have 200 files open, so each agent has room for 17/)
  await vault.add(service.url)
  const lease = await vault.lease()
  const request = `GET /s/github/x HTTP/1.1\r\nAuthorization: Bearer ${lease}\r\n\r\n`
  let closed = 0
  let answered = 0
  const sockets = Array.from({ length: 190 }, () => {
    const socket = openSocket(vault.coder)
    socket.on('close', () => closed++)
    socket.once('data', () => answered++)
    socket.write(request) // one each, which goes on, so that no connection is closed because it has nothing to do
    return socket
  })
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
  })
  await eventually(() => closed === 190 - 17, 'the connections beyond the limit are closed')
  await eventually(() => service.requests.length === 17, 'the agent’s requests run')
  t.equal((await ask(vault.owner, { path: '/v1/status' })).status, 200)
  t.equal((await ask(vault.ops, { path: '/v2' })).code, 'not-found', 'another agent has room too')
  await vault.command('/v1/entries/github/revoke', { agents: ['coder'] })
  await eventually(() => answered === 17, 'the revocation ends what runs')
  t.equal(service.requests.length, 17)
})
