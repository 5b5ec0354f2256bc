/** How does a test use a real Redis? Debian's redis-server on a Unix socket, behind a port that the test can cut. */
import { createClient } from '@redis/client'
import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { rmSync } from 'node:fs'
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

const MOVED = /:moved:/

/** A Redis that runs. */
export interface TestRedis {
  /** As RELAY_STORE_URL and LIMITS_STORE_URL take it. */
  readonly url: string
  /** Of the process that runs now. */
  readonly pid: number
  /** Between the program and the Redis. */
  readonly wire: Cuttable
  /** Does a command, past the wire. @returns what Redis answers */
  does(...command: string[]): Promise<unknown>
  /** Kills it, and waits for its end. */
  kill(): Promise<void>
  /** Starts it again, with what it has kept, and waits until it answers. */
  startAgain(): Promise<void>
  /** Every claim with its value, past the wire. */
  all(): Promise<ReadonlyMap<string, string>>
  /** How long places stay where they were taken over, in milliseconds. */
  settling(): Promise<readonly number[]>
  /** Lets that time be over. */
  settle(): Promise<void>
  /** How many claims were renewed. */
  renewals(): Promise<number>
  /** Gives every key another value, as another node that has claimed it. */
  takeAll(value: string): Promise<void>
  /** Forgets everything, as a Redis that was restarted without a disk. */
  empty(): Promise<void>
  /** Makes it refuse a command, also in scripts; undefined ends that. */
  refuses(command: string | undefined): Promise<void>
}

/**
 * Starts a Redis, which ends with the test.
 * @param settings as its command line has them. By default it keeps nothing on the disk
 */
export async function startRedis(t: Test, settings: readonly string[] = []): Promise<TestRedis> {
  const folder = temporaryFolder(t)
  const path = join(folder, 'redis.sock')
  const all = ['--port', '0', '--unixsocket', path, '--save', '', '--dir', folder, ...settings]
  let child: ChildProcess
  let ended: Promise<unknown>
  const start = () => {
    child = spawn('redis-server', all, { stdio: 'ignore' })
    ended = once(child, 'close')
  }
  const kill = async () => {
    child.kill('SIGKILL')
    await ended
    rmSync(path, { force: true })
  }
  start()
  t.teardown(kill)
  const own = createClient({
    socket: { path, tls: false, reconnectStrategy: 50 },
    disableOfflineQueue: true,
  })
  own.on('error', () => {})
  await own.connect()
  t.teardown(() => own.destroy())
  const wire = await startCuttable({ port: 0, host: '127.0.0.1' }, () => ({ path }))
  t.teardown(() => wire.stop())
  return {
    url: `redis://127.0.0.1:${wire.port}`,
    get pid() {
      return child.pid ?? 0
    },
    wire,
    does: (...command) => own.sendCommand(command),
    kill,
    async startAgain() {
      start()
      await until('redis-server answers', () => own.ping())
    },
    async all() {
      const keys = (await own.keys('*')).filter((key) => !MOVED.test(key))
      const values = await Promise.all(keys.map((key) => own.get(key)))
      return new Map(keys.map((key, i) => [key, values[i] ?? '']))
    },
    async settling() {
      const keys = (await own.keys('*')).filter((key) => MOVED.test(key))
      return Promise.all(keys.map((key) => own.pTTL(key)))
    },
    async settle() {
      for (const key of await own.keys('*')) if (MOVED.test(key)) await own.del(key)
    },
    async renewals() {
      const stats = await own.info('commandstats')
      return Number(/^cmdstat_pexpire:calls=(\d+)/m.exec(stats)?.[1] ?? 0)
    },
    takeAll: async (value) => {
      for (const key of await own.keys('*')) if (!MOVED.test(key)) await own.set(key, value)
    },
    empty: async () => void (await own.flushAll()),
    refuses: async (command) =>
      void (await own.aclSetUser('default', command === undefined ? '+@all' : `-${command}`)),
  }
}
