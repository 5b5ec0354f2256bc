/** Do the rate limits survive a restart, and what happens when the disk fails? */
import {
  chmodSync,
  chownSync,
  existsSync,
  lchownSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import pino from 'pino'
import t from 'tap'
import { SlidingWindowLimiter } from '../../src/limits/budget.ts'
import { openStateDir, restoreBudgets, saveBudgets } from '../../src/store/budgets.ts'

/** A logger that records its lines. */
function capture() {
  const lines: string[] = []
  const logger = pino({ level: 'info' }, { write: (line: string) => void lines.push(line) })
  return { logger, lines, errors: () => lines.filter((line) => line.includes('"level":50')) }
}

function tables() {
  const limiter = () => new SlidingWindowLimiter({ limit: 10, windowSeconds: 60, capacity: 100 })
  return { addresses: limiter(), sessions: limiter() }
}

/** The number of twenty requests that pass. */
function passing(limiter: SlidingWindowLimiter, key: string): number {
  const results = Array.from(
    { length: 20 },
    () => limiter.take(key).consumedPoints <= limiter.limit,
  )
  return results.filter(Boolean).length
}

t.test('the state folder is private, also if it existed with another mode', async (t) => {
  const { logger, lines } = capture()
  const path = join(t.testdir(), 'data', 'gateway')
  openStateDir(path, logger)
  t.equal(statSync(path).mode & 0o777, 0o700)
  chmodSync(path, 0o755)
  openStateDir(path, logger)
  t.equal(statSync(path).mode & 0o777, 0o700)
  t.same(lines, [])
})

t.test(
  'a folder or link that belongs to another user is neither used nor changed',
  { skip: process.geteuid?.() === 0 ? false : 'only root can give a folder away' },
  async (t) => {
    const folder = t.testdir({ theirs: {}, ours: {} })
    const [theirs, ours] = [join(folder, 'theirs'), join(folder, 'ours')]
    chmodSync(theirs, 0o755)
    chownSync(theirs, 1234, 1234)
    symlinkSync(ours, join(folder, 'their-link'))
    lchownSync(join(folder, 'their-link'), 1234, 1234)
    symlinkSync(ours, join(folder, 'our-link'))
    for (const path of [theirs, join(folder, 'their-link')]) {
      const { logger, errors } = capture()
      t.equal(openStateDir(path, logger), false)
      t.match(errors(), [/GATEWAY_STATE_DIR.*1234.*another user/])
    }
    t.equal(statSync(theirs).mode & 0o777, 0o755)
    const { logger, lines } = capture()
    t.equal(openStateDir(join(folder, 'our-link'), logger), true, 'an operator’s own link is')
    t.same(lines, [])
  },
)

t.test(
  'a folder that cannot be created is logged as an error, with the setting’s name',
  async (t) => {
    const { logger, errors } = capture()
    const folder = t.testdir({ file: 'x' })
    openStateDir(join(folder, 'file', 'state'), logger)
    openStateDir(join(folder, 'file'), logger)
    t.equal(errors().length, 2)
    t.match(errors()[0], 'GATEWAY_STATE_DIR')
  },
)

t.test('budgets are saved completely and privately, and restored once', async (t) => {
  const { logger, lines } = capture()
  const folder = t.testdir()
  const before = tables()
  t.equal(passing(before.addresses, '203.0.113.9'), 10)
  before.sessions.take('s1')
  saveBudgets(folder, before, logger)
  t.same(readdirSync(folder), ['budgets.json'], 'nothing else is left there')
  t.equal(statSync(join(folder, 'budgets.json')).mode & 0o777, 0o600)

  const after = tables()
  restoreBudgets(folder, after, logger)
  t.equal(passing(after.addresses, '203.0.113.9'), 0)
  t.equal(passing(after.addresses, '203.0.113.10'), 10)
  t.equal(passing(after.sessions, 's1'), 9)
  t.same(readdirSync(folder), [], 'a crash later must not bring it back')
  t.same(lines, [])
})

t.test('saving again replaces the file', async (t) => {
  const { logger } = capture()
  const folder = t.testdir({ 'budgets.json': 'old and long'.repeat(1000) })
  chmodSync(join(folder, 'budgets.json'), 0o644)
  saveBudgets(folder, tables(), logger)
  t.ok(JSON.parse(readFileSync(join(folder, 'budgets.json'), 'utf8')))
  t.equal(statSync(join(folder, 'budgets.json')).mode & 0o777, 0o600)
})

t.test('a first start logs nothing', async (t) => {
  const { logger, lines } = capture()
  restoreBudgets(t.testdir(), tables(), logger)
  t.same(lines, [])
})

t.test('corrupt budgets are logged, ignored and removed', async (t) => {
  const good = JSON.stringify({ savedAt: Date.now(), clock: 0, entries: [['k', [0], [10]]] })
  const corrupt = [
    '',
    '{',
    'null',
    '[]',
    '1',
    '"x"',
    '{}',
    '{"addresses":null,"sessions":null}',
    '{"addresses":{},"sessions":{}}',
    '{"addresses":{"savedAt":1},"sessions":{"entries":[]}}',
    `{"addresses":${good.replace(/"savedAt":\d+/, '"savedAt":"x"')}}`,
    ...[
      '5',
      '["k"]',
      '["k",[0]]',
      '[1,[0],[1]]',
      '["k",[0,1],[1]]',
      '["k",["0"],[1]]',
      '["k",[-1],[1]]',
      '["k",[0],[1e999]]',
      '["k",[0],[null]]',
      '["k",{},[]]',
      '["k",[0],[1],2]',
    ].map((entry) => `{"addresses":{"savedAt":${Date.now()},"clock":0,"entries":[${entry}]}}`),
    '\u0000\u0000\u0000',
    '['.repeat(100_000),
  ]
  for (const content of corrupt) {
    const { logger, errors } = capture()
    const folder = t.testdir({ 'budgets.json': content })
    const fresh = tables()
    restoreBudgets(folder, fresh, logger)
    t.ok(errors().length > 0, content.slice(0, 60))
    t.notOk(errors().join('').includes('"k"'))
    t.equal(passing(fresh.addresses, 'k'), 10)
    t.notOk(existsSync(join(folder, 'budgets.json')))
  }
})

t.test('a corrupt table does not affect the other', async (t) => {
  const { logger, errors } = capture()
  const folder = t.testdir({
    'budgets.json': `{"addresses":{"savedAt":${Date.now()},"clock":0,"entries":[["k",[0],[10]]]},"sessions":5}`,
  })
  const fresh = tables()
  restoreBudgets(folder, fresh, logger)
  t.equal(passing(fresh.addresses, 'k'), 0)
  t.equal(passing(fresh.sessions, 'k'), 10)
  t.equal(errors().length, 1)
})

t.test('a table that an older program did not have is no fault', async (t) => {
  const { logger, lines } = capture()
  const folder = t.testdir({
    'budgets.json': `{"addresses":{"savedAt":${Date.now()},"clock":0,"entries":[["k",[0],[10]]]}}`,
  })
  const fresh = tables()
  restoreBudgets(folder, fresh, logger)
  t.equal(passing(fresh.addresses, 'k'), 0)
  t.equal(passing(fresh.sessions, 'k'), 10)
  t.same(lines, [])
})

t.test('a failure of the disk is logged, and never thrown', async (t) => {
  const { logger, errors } = capture()
  const folder = t.testdir({ file: 'x' })
  saveBudgets(join(folder, 'file', 'below'), tables(), logger)
  saveBudgets(join(folder, 'missing'), tables(), logger)
  t.equal(errors().length, 2)
  restoreBudgets(join(folder, 'file', 'below'), tables(), logger)
  t.equal(errors().length, 3)

  mkdirSync(join(folder, 'budgets.json'))
  writeFileSync(join(folder, 'budgets.json', 'x'), '')
  saveBudgets(folder, tables(), logger)
  restoreBudgets(folder, tables(), logger)
  t.equal(errors().length, 5)
  t.same(readdirSync(folder), ['budgets.json', 'file'], 'no draft is left behind')
})

t.test('a table with any invalid entry is corrupt as a whole', async (t) => {
  const good = '["k",[0],[10]]'
  const table = (entries: string) => `{"savedAt":${Date.now()},"clock":0,"entries":[${entries}]}`
  for (const corrupt of [
    ...['5', 'null', '"x"', 'true', '[]'],
    ...[`${good},5`, `5,${good}`, `${good},{"length":3}`, `${good},"abc"`].map(table),
  ]) {
    const { logger, errors } = capture()
    const folder = t.testdir({
      'budgets.json': `{"addresses":${corrupt},"sessions":${table(good)}}`,
    })
    const fresh = tables()
    restoreBudgets(folder, fresh, logger)
    t.equal(passing(fresh.addresses, 'k'), 10, corrupt)
    t.equal(passing(fresh.sessions, 'k'), 0, corrupt)
    t.equal(errors().length, 1, corrupt)
    t.match(errors()[0], 'saved budgets are corrupt')
  }
})

t.test(
  'a folder of root can be used by any user, and a folder of another user by no one else',
  { skip: process.geteuid?.() === 0 ? false : 'only root can give a folder away' },
  async (t) => {
    const rows: Array<[owner: number, own: number, isUsed: boolean]> = [
      [0, 1234, true],
      [1234, 1234, true],
      [0, 0, true],
      [1, 1234, false],
      [1, 0, false],
      [1234, 0, false],
    ]
    for (const [owner, own, isUsed] of rows) {
      const folder = t.testdir()
      chownSync(folder, owner, owner)
      const { restore } = t.intercept(process, 'geteuid', { value: () => own })
      t.equal(openStateDir(folder, capture().logger), isUsed, `${owner} ${own}`)
      restore()
    }
  },
)
