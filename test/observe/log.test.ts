/** Is a log line one safe JSON object, and does its reader never block the process? */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { GatewayError } from '../../src/answers/errors.ts'
import { openLog } from '../../src/observe/log.ts'
import { eventually } from '../helpers/waiting.ts'

/** Opens a log whose lines the test reads. */
function capture(level = 'info') {
  const lines: string[] = []
  const { logger } = openLog(level, { write: (line: string) => void lines.push(line) })
  return {
    logger,
    lines,
    parsed: () => lines.map((line) => JSON.parse(line) as Record<string, unknown>),
  }
}

t.test('a line is one JSON object with the level as a word and the time in ISO 8601', async (t) => {
  const { logger, lines, parsed } = capture()
  logger.info({ id: 'a' }, 'request')
  logger.debug('not written at this level')
  t.equal(lines.length, 1)
  t.match(lines[0], /^[^\n]+\n$/)
  t.match(parsed()[0], {
    level: 'info',
    id: 'a',
    msg: 'request',
    time: /^\d{4}-\d\d-\d\dT[\d:.]+Z$/,
  })
  t.same(Object.keys(parsed()[0] ?? {}).toSorted(), ['id', 'level', 'msg', 'time'])
})

t.test('text of a client cannot start a new line or move the cursor of a terminal', async (t) => {
  const { logger, lines } = capture()
  logger.info({ path: '/a\r\n{"level":"error"}\u001b[2J\u0000' }, 'request')
  t.equal(lines.length, 1)
  t.match(lines[0], /^[\x20-\x7e]+\n$/)
})

t.test('an error is logged with its causes, without a stack, and shortened', async (t) => {
  const { logger, parsed } = capture()
  const inner = Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' })
  const error = new GatewayError('upstream-unreachable', { cause: inner })
  logger.error({ err: error }, 'failed')
  t.same(parsed()[0]?.['err'], {
    name: 'GatewayError',
    code: 'upstream-unreachable',
    message: error.message,
    cause: { name: 'Error', code: 'ECONNREFUSED', message: 'connect ECONNREFUSED' },
  })
  logger.error({ err: new Error('x'.repeat(10_000), { cause: 'y'.repeat(10_000) }) }, 'failed')
  t.ok(JSON.stringify(parsed()[1]).length < 2000)
})

t.test(
  'an error that is its own cause, or a value that is not an error, is logged too',
  async (t) => {
    const { logger, parsed } = capture()
    const endless = new Error('endless')
    endless.cause = endless
    const deep = Array.from({ length: 100 }).reduce<Error>(
      (cause, _, i) => new Error(`level ${i}`, { cause }),
      new Error('root'),
    )
    for (const err of [endless, deep, 'text', null, 5, { a: 1 }]) logger.error({ err }, 'failed')
    t.equal(parsed().length, 6)
    t.match(parsed()[2], { err: { message: 'text' } })
  },
)

t.test('a log file is for its owner only, and flush writes the buffered lines', async (t) => {
  const path = join(t.testdir(), 'gateway.log')
  const log = openLog('info', path)
  log.logger.info('first')
  await eventually(() => {
    void log.flush()
    return existsSync(path) && readFileSync(path, 'utf8').includes('first')
  }, 'the first line')
  t.equal(statSync(path).mode & 0o777, 0o600)
  log.logger.info('second')
  await log.flush()
  t.match(readFileSync(path, 'utf8'), /first.*\n.*second/)
})

t.test('nothing is logged at the level silent', async (t) => {
  const { logger, lines } = capture('silent')
  logger.fatal('x')
  t.same(lines, [])
})

/**
 * Starts a process that writes 100 MB of lines to its standard output and then prints its memory in MiB to standard error.
 */
function startWriter() {
  const program = `
    import { openLog } from ${JSON.stringify(new URL('../../src/observe/log.ts', import.meta.url).href)}
    const { logger } = openLog('info')
    const line = 'x'.repeat(1000)
    let rounds = 0
    const timer = setInterval(() => {
      for (let i = 0; i < 5000; i++) logger.info(line)
      if (++rounds < 20) return
      clearInterval(timer)
      globalThis.gc()
      const { heapUsed, external } = process.memoryUsage()
      process.stderr.write(Math.round((heapUsed + external) / 1048576) + ' MiB')
      setInterval(() => {}, 1000)
    }, 1)`
  return spawn(
    process.execPath,
    ['--expose-gc', '--no-warnings', '--input-type=module', '--eval', program],
    { stdio: ['ignore', 'pipe', 'pipe'], env: { PATH: process.env['PATH'] } },
  )
}

for (const [reader, leave] of [
  ['goes away', true],
  ['stops reading', false],
] as const) {
  t.test(`a reader that ${reader} neither ends the process nor fills its memory`, async (t) => {
    const child = startWriter()
    t.teardown(() => child.kill('SIGKILL'))
    await once(child.stdout, 'readable')
    if (leave) child.stdout.destroy()
    const [said] = (await once(child.stderr, 'data')) as [Buffer]
    const memory = Number.parseInt(said.toString(), 10)
    t.ok(memory < 64, `${said.toString()} after 100 MB of lines`)
    t.equal(child.exitCode, null)
  })
}
