/** Does the benchmark compute correctly, and does it parse the kernel's figures, wrk's output and the gateway's metrics? */
import { readFileSync } from 'node:fs'
import t from 'tap'
import { FIGURES } from '../bench/figures.ts'
import type { Lab } from '../bench/lab.ts'
import { parseWrk } from '../bench/load/wrk-output.ts'
import { diskOf } from '../bench/machine.ts'
import { parseOptions } from '../bench/options.ts'
import type { Peer, PeerName } from '../bench/peers/peer.ts'
import {
  cpuMicros,
  foreignMicros,
  openFiles,
  parseMachineMicros,
  parseStat,
  parseStatusBytes,
  peakBytes,
  residentBytes,
  resetPeak,
} from '../bench/proc.ts'
import { sumOf } from '../bench/samples.ts'
import { vault } from '../bench/scenarios/vault.ts'
import { median, percentile, ratios, spread } from '../bench/statistics.ts'
import { inTime, neverDone, nothingOf } from '../bench/soak/activity.ts'
import { signedInBy } from '../bench/soak/sign-in.ts'
import { tableOf, verdict } from '../bench/soak/verdict.ts'
import { writeTable } from '../bench/table.ts'
import { Results, takeTurns } from '../bench/turns.ts'
import { warmUp } from '../bench/warm-up.ts'

t.test('medians and percentiles are computed', async (t) => {
  t.equal(median([9, 1, 5]), 5)
  t.equal(median([4, 1, 2, 100]), 3)
  t.ok(Number.isNaN(median([])))
  const hundred = Array.from({ length: 100 }, (_, i) => 100 - i)
  t.equal(percentile(hundred, 0.5), 50)
  t.equal(percentile(hundred, 0.99), 99)
  t.equal(percentile(hundred, 1), 100)
  t.equal(percentile([7], 0.01), 7)
})

t.test(
  'a ratio is computed within each round, so that a slow round does not count twice',
  async (t) => {
    t.equal(median(ratios([10, 100, 12], [20, 200, 20])), 0.5)
    t.same(ratios([], [1]), [])
    t.same(ratios([1, 2], [2]), [0.5])
    t.equal(spread([49, 50, 51]), 0.02)
  },
)

t.test('/proc/PID/stat is parsed, whatever the name of the process', async (t) => {
  const rest = 'S 4242 77 77 0 -1 4194304 5 6 7 8 150 50 30 20 20 0 11 0 123'
  for (const name of ['node', 'nginx: worker', 'a) R 1 (b', ''])
    t.same(parseStat(`77 (${name}) ${rest}`), {
      pid: 77,
      parent: 4242,
      cpuMicros: 2_000_000,
      reapedMicros: 500_000,
    })
  const self = parseStat(readFileSync('/proc/self/stat', 'utf8'))
  t.equal(self.pid, process.pid)
  t.equal(self.parent, process.ppid)
  t.ok(cpuMicros([process.pid]) >= self.cpuMicros)
})

t.test('the other files in /proc are parsed', async (t) => {
  t.equal(parseStatusBytes('VmPeak:\t  900 kB\nVmRSS:\t    10 kB\n', 'VmRSS'), 10_240)
  t.equal(parseMachineMicros('cpu  1 2 3 1000 50 4 5 0 0 0\ncpu0 9 9 9\n'), 150_000)
})

t.test('the figures of this process are read from /proc', async (t) => {
  const own = [process.pid]
  resetPeak(own)
  t.ok(residentBytes(own) > 2 ** 20)
  t.ok(peakBytes(own) > 2 ** 20)
  t.ok(openFiles(own) >= 3)
  t.ok(foreignMicros() > 0)
})

t.test('a peer is warm when two slices in a row cost about the same', async (t) => {
  const warmWith = async (costs: readonly number[], atMostSeconds: number, seconds = 3) => {
    let at = 0
    let ms = 0
    const slice = async (asked: number) => {
      t.equal(asked, 3)
      ms += seconds * 1000
      return costs[at++] ?? Number.NaN
    }
    return warmUp(slice, atMostSeconds, () => ms)
  }
  t.same(await warmWith([151, 83, 70, 66, 65, 1], 20), [151, 83, 70, 66, 65])
  t.same(await warmWith([50, 60, 58, 1], 20), [50, 60, 58], 'dearer is not level either')
  t.same(await warmWith([151, 83, 70, 66, 50, 40, 30, 20], 20), [151, 83, 70, 66, 50, 40])
  t.same(await warmWith([9, 8, 7, 6], 20, 8), [9, 8], 'a third one would end too late')
  t.same(await warmWith([9, 8, 7], 1), [9], 'there is always one')
  t.same(await warmWith([0, 0, 0], 20), [0, 0], 'nothing in between costs nothing')
})

t.test('each peer is warm before the first round, and all rounds count', async (t) => {
  const order: string[] = []
  const said: string[] = []
  const results = new Results()
  const scenario = {
    peers: [],
    needs: [],
    async load({ name }: Peer) {
      order.push(`load ${name}`)
      return order.length < 3 ? 100 / order.length : 40
    },
    async measure({ name }: Peer) {
      order.push(name)
      return { p50: 1 }
    },
  } as const
  const lab = { peer: async (name: PeerName) => ({ name }) } as unknown as Lab
  const effort = { rounds: 1, seconds: 1, warmUpSeconds: 20 }
  const say = (text: string) => void said.push(text)
  await takeTurns(scenario, ['gateway', 'bare'], lab, effort, results, say)
  t.same(order, [
    ...Array.from({ length: 4 }, () => 'load gateway'),
    ...['load bare', 'load bare', 'gateway', 'bare'],
  ])
  t.same(results.of('p50', 'bare'), [1])
  t.same(said, ['  gateway warmed up: 100.0, 50.0, 40.0, 40.0', '  bare warmed up: 40.0, 40.0'])
})

t.test(
  'a scenario that starts its peers itself has one more round, which is dropped',
  async (t) => {
    const order: string[] = []
    const results = new Results()
    const scenario = {
      peers: [],
      needs: [],
      async measure({ name }: Peer) {
        order.push(name)
        return { p50: order.length }
      },
      conclude(round: ReadonlyMap<PeerName, { p50?: number; 'p50-added'?: number }>) {
        for (const values of round.values()) values['p50-added'] = (values.p50 ?? 0) * 10
      },
    }
    const lab = { peer: async (name: PeerName) => ({ name }) } as unknown as Lab
    const effort = { rounds: 2, seconds: 1, warmUpSeconds: 20 }
    await takeTurns(scenario, ['bare', 'gateway'], lab, effort, results, t.fail.bind(t))
    t.same(order, ['bare', 'gateway', 'bare', 'gateway', 'bare', 'gateway'])
    t.same(results.of('p50', 'gateway'), [4, 6])
    t.same(results.of('p50-added', 'bare'), [30, 50])
    t.same(JSON.parse(JSON.stringify(results))['p50 bare'], [3, 5])
  },
)

t.test('wrk’s output is parsed', async (t) => {
  const text = `Running 2s test @ http://127.0.0.1:1/
  1 threads and 32 connections
  66 requests in 1.50m, 57.43MB read
  Socket errors: connect 1, read 2, write 3, timeout 4
  Non-2xx or 3xx responses: 12
Requests/sec:      0.73
`
  t.same(parseWrk(text), { requests: 66, seconds: 90, refused: 12, failed: 10 })
  t.same(parseWrk('  5 requests in 500.00ms, 1MB read'), {
    requests: 5,
    seconds: 0.5,
    refused: 0,
    failed: 0,
  })
  t.throws(() => parseWrk('unable to connect'))
})

t.test('the series of a metric are summed', async (t) => {
  const text = 'a_total{x="1"} 2\na_total{x="2"} 3\na_total_more 9\nb 7.5\n'
  t.equal(sumOf(text, 'a_total'), 5)
  t.equal(sumOf(text, 'b'), 7.5)
  t.equal(sumOf(text, 'a_total', 'x="2"'), 3)
})

t.test('the table has medians, ratios round by round, and a verdict on each target', async (t) => {
  const results = new Results()
  for (const [peer, values] of [
    ['nginx-auth', [100, 1000, 120]],
    ['gateway', [50, 490, 70]],
    ['bare', [40, 200, 40]],
  ] as const)
    for (const cpu of values) results.add(peer, { cpu })
  const rows = writeTable(results)
    .split('\n')
    .map((line) => line.split('|').map((cell) => cell.trim()))
  t.same(rows[0]?.slice(2, 5), ['nginx + auth_request', 'bare node:http + undici', 'gateway'])
  t.same(rows[2]?.slice(1, 5), [FIGURES.cpu.label, ...['120.0 ±375%', '40.0 ±200%', '70.0 ±314%']])
  t.same(rows[3]?.slice(4, 7), ['0.50 ±9%', 'at most 0.4', 'NOT MET'])
  t.same(rows[4]?.slice(4, 7), ['1.75 ±34%', 'at most 1', 'NOT MET'])
})

t.test('the command line is parsed', async (t) => {
  const known = ['proxied', 'latency', 'bodies'] as const
  t.match(parseOptions(['--only', 'latency,growth', '--rounds', '5'], known), {
    only: ['latency'],
    growth: true,
    rounds: 5,
    warmUpSeconds: 20,
    soakMinutes: undefined,
  })
  t.same(parseOptions(['--quick'], known).only, ['proxied'])
  t.match(parseOptions(['--quick', '--only', 'latency', '--warm-up', '5'], known), {
    quick: true,
    only: ['latency'],
    warmUpSeconds: 5,
  })
  t.same(parseOptions([], known).only, known)
  t.same(parseOptions(['--only', 'growth'], known).only, [])
  for (const wrong of [
    ['--only', 'speed'],
    ['--rounds', '0'],
    ['--soak', 'x'],
    ['--warm-up', '0'],
    ['--fast'],
  ])
    t.throws(() => parseOptions(wrong, known), wrong.join(' '))
})

t.test(
  'what the vault adds is the difference to the direct request of the same round',
  async (t) => {
    const round = new Map<PeerName, { 'vault-p50'?: number; 'vault-added'?: number }>([
      ['direct', { 'vault-p50': 0.25 }],
      ['vault', { 'vault-p50': 0.5 }],
    ])
    vault.conclude?.(round)
    t.same(round.get('vault'), { 'vault-p50': 0.5, 'vault-added': 0.25 })
    const results = new Results()
    for (const [peer, values] of round) results.add(peer, values)
    const row = writeTable(results)
      .split('\n')
      .find((line) => line.includes(FIGURES['vault-added'].label))
    t.match(row, /\| +0\.25 \| +at most 0\.5 \| +met \|/)
  },
)

t.test('the disk under a folder is named, whose speed an audited request depends on', async (t) => {
  const mounts =
    'overlay / overlay rw 0 0\n/dev/vda /data ext4 rw 0 0\ntmpfs /data/tmp tmpfs rw 0 0\n'
  t.equal(diskOf('/tmp', mounts), 'overlay on overlay')
  t.equal(diskOf('/data', mounts), 'ext4 on /dev/vda')
  t.equal(diskOf('/data/tmp/x', mounts), 'tmpfs on tmpfs')
  t.equal(diskOf('/data/tmpfile', mounts), 'ext4 on /dev/vda')
  t.equal(diskOf('/x', ''), 'unknown')
})

t.test('a soak says of each figure of a program whether it has grown', async (t) => {
  const looks = Array.from({ length: 12 }, (_, i) => ({
    usedMib: i < 4 ? i : 100 + i,
    residentMib: 100 + 5 * i,
    files: i < 8 ? 3 : 5,
    rooms: i < 8 ? 3 : 6,
    tokens: 100 * i,
  }))
  t.same(verdict('relay', looks).split('\n'), [
    'relay, usedMib: 105.5 in the middle third, 109.5 in the last: flat',
    'relay, residentMib: 127.5 in the middle third, 147.5 in the last: GROWS',
    'relay, files: 3 in the middle third, 5 in the last: flat',
    'relay, rooms: 3 in the middle third, 6 in the last: GROWS',
    'relay, tokens: 550 in the middle third, 950 in the last: grows, within its bound of 10,000',
  ])
  t.equal(verdict('link', looks.slice(0, 8)), 'link: too short to say whether anything grows')
})

t.test('the table of a soak has few rows, and the last sample', async (t) => {
  const looks = Array.from({ length: 100 }, (_, i) => ({ usedMib: i, files: i }))
  const rows = tableOf(looks).split('\n')
  t.match(rows[0], /^\| look \| usedMib \| files \|$/)
  t.ok(rows.length <= 2 + 13)
  t.match(rows.at(-1), /^\| 100 +\| +99\.0 \| +99 \|$/)
})

t.test('a soak notices what never happened, and what takes too long', async (t) => {
  const done = nothingOf('made', 'used')
  t.same(neverDone({ leases: { done } }), ['leases: made', 'leases: used'])
  done.made++
  t.same(neverDone({ leases: { done }, others: { done: { seen: 1 } } }), ['leases: used'])
  t.equal(await inTime('an answer', Promise.resolve(7)), 7)
  const never = new Promise<never>(() => {})
  await t.rejects(inTime('an answer', never, 10), { message: /not yet an answer/ })
})

t.test('a person of a soak keeps the cookie, and knows their session', async (t) => {
  const payload = Buffer.from(JSON.stringify({ sid: 'abc' })).toString('base64url')
  const cookies = ['old=; Max-Age=0', `__Host-session=x.${payload}.y; Path=/; Secure`]
  const person = signedInBy({ cookies }, { subject: 'ada', address: '10.0.0.1' })
  t.match(person, { subject: 'ada', address: '10.0.0.1', id: 'abc' })
  t.equal(person.headers['Cookie'], `__Host-session=x.${payload}.y`)
  t.equal(person.headers['Authorization'], undefined)
})
