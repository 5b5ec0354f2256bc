/** Does the stats server report the figures of this machine? */
import { cpus, hostname, totalmem } from 'node:os'
import t from 'tap'
import { startStatsServer, type Stats } from '../../embedded/stats-server.ts'

t.test('the figures are this machine’s, and must not be cached', async (t) => {
  const server = await startStatsServer()
  t.teardown(server.close)
  for (const path of ['/health', '/stats']) {
    const answer = await fetch(`${server.url}${path}`)
    const stats = (await answer.json()) as Stats
    t.equal(answer.status, 200)
    t.equal(answer.headers.get('cache-control'), 'no-store')
    t.equal(stats.status, 'ok')
    t.equal(stats.hostname, hostname())
    t.equal(stats.node, process.version)
    t.equal(stats.cpu.count, cpus().length)
    t.equal(stats.memory.totalBytes, totalmem())
    t.equal(stats.memory.usedBytes + stats.memory.freeBytes, totalmem())
    t.ok(stats.cpu.utilisationPercent >= 0 && stats.cpu.utilisationPercent <= 100)
    t.ok(stats.uptimeSeconds > 0)
    t.ok(stats.disk === null || stats.disk.totalBytes >= stats.disk.usedBytes)
    t.ok(stats.processes === null || stats.processes > 0)
  }
})

t.test('the server listens on 127.0.0.1 only, and stops when closed', async (t) => {
  const server = await startStatsServer()
  t.match(server.url, /^http:\/\/127\.0\.0\.1:\d+$/)
  await server.close()
  await t.rejects(fetch(`${server.url}/health`))
})
