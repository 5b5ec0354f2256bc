/** How does a test use a real Redis? Debian's redis-server on a Unix socket, behind a port that the test can cut. */
import { createClient } from '@redis/client'
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { Test } from 'tap'
import { startCuttable, type Cuttable } from './cuttable.ts'
import { temporaryFolder } from './process.ts'
import { until } from './waiting.ts'

/** Why tests with a Redis are skipped; false when they are not. */
export const NO_REDIS: string | false =
  spawnSync('redis-server', ['--version']).error === undefined
    ? false
    : 'redis-server is not installed: apt-get install -y redis-server'

/** A Redis that runs. */
export interface TestRedis {
  /** As RELAY_STORE_URL takes it. */
  readonly url: string
  readonly pid: number
  /** Between the relay and the Redis. */
  readonly wire: Cuttable
  /** Every key with its value, past the wire. */
  all(): Promise<ReadonlyMap<string, string>>
  /** How many claims were renewed. */
  renewals(): Promise<number>
  /** Gives every key another value, as another node that has claimed it. */
  takeAll(value: string): Promise<void>
  /** Forgets everything, as a Redis that was restarted without a disk. */
  empty(): Promise<void>
}

/** Starts a Redis, which ends with the test. */
export async function startRedis(t: Test): Promise<TestRedis> {
  const folder = temporaryFolder(t)
  const path = join(folder, 'redis.sock')
  const settings = ['--port', '0', '--unixsocket', path, '--save', '', '--dir', folder]
  const child = spawn('redis-server', settings, { stdio: 'ignore' })
  const ended = once(child, 'close')
  t.teardown(async () => {
    child.kill('SIGKILL')
    await ended
  })
  await until('redis-server listens', () => existsSync(path))
  const own = createClient({ socket: { path, tls: false } })
  own.on('error', () => {})
  await own.connect()
  t.teardown(() => own.destroy())
  const wire = await startCuttable({ port: 0, host: '127.0.0.1' }, () => ({ path }))
  t.teardown(() => wire.stop())
  return {
    url: `redis://127.0.0.1:${wire.port}`,
    pid: child.pid ?? 0,
    wire,
    async all() {
      const keys = await own.keys('*')
      const values = await Promise.all(keys.map((key) => own.get(key)))
      return new Map(keys.map((key, i) => [key, values[i] ?? '']))
    },
    async renewals() {
      const stats = await own.info('commandstats')
      return Number(/^cmdstat_pexpire:calls=(\d+)/m.exec(stats)?.[1] ?? 0)
    },
    takeAll: async (value) => {
      for (const key of await own.keys('*')) await own.set(key, value)
    },
    empty: async () => void (await own.flushAll()),
  }
}
