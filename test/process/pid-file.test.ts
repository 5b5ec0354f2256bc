/** Does the PID file name the gateway that runs, and is a stale one ignored? */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import {
  AlreadyRunningError,
  checkPidFile,
  removePidFile,
  writePidFile,
} from '../../src/process/pid-file.ts'

/** Starts a process with a given command line. It ends with the test. */
async function start(t: Test, program: string): Promise<ChildProcess & { pid: number }> {
  const child = spawn(process.execPath, [program, 'serve'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  t.teardown(() => child.kill('SIGKILL'))
  await once(child.stdout, 'data')
  return child as typeof child & { pid: number }
}

const WAITING = 'console.log("up"); setInterval(() => {}, 1000)'

/** Makes a folder with programs that only wait, under several names. */
function programs(t: Test): string {
  return t.testdir({
    'workspace-gateway': WAITING,
    'workspace-gateway.cjs': WAITING,
    'main.js': WAITING,
    'remain.js': WAITING,
    'workspace-gateway-docs': { 'other.js': WAITING },
  })
}

t.test('the file has the process id and a line end, and no other file is left', async (t) => {
  const folder = t.testdir()
  const path = join(folder, 'gateway.pid')
  writePidFile(path)
  t.equal(readFileSync(path, 'utf8'), `${process.pid}\n`)
  t.equal(statSync(path).mode & 0o022, 0, 'others cannot change it')
  t.same(readdirSync(folder), ['gateway.pid'])
  writePidFile(path)
  t.doesNotThrow(() => checkPidFile(path), 'our own number is no other gateway')
  removePidFile(path)
  t.same(readdirSync(folder), [])
  t.doesNotThrow(() => removePidFile(path))
})

t.test('a file that cannot be written is an error, and leaves no temporary file', async (t) => {
  const folder = t.testdir({ taken: { x: '' }, file: '' })
  t.throws(() => writePidFile(join(folder, 'missing', 'gateway.pid')), { code: 'ENOENT' })
  t.throws(() => writePidFile(join(folder, 'taken')))
  t.throws(() => writePidFile(join(folder, 'file', 'gateway.pid')))
  t.same(readdirSync(folder), ['file', 'taken'])
})

t.test('a second gateway with the same file is refused while the first one runs', async (t) => {
  const folder = programs(t)
  for (const program of ['workspace-gateway', 'workspace-gateway.cjs', 'main.js']) {
    const { pid } = await start(t, join(folder, program))
    const path = join(folder, 'gateway.pid')
    for (const content of [`${pid}\n`, String(pid), `  ${pid}\r\n`]) {
      writeFileSync(path, content)
      t.throws(() => checkPidFile(path), AlreadyRunningError)
      t.throws(() => checkPidFile(path), {
        message: new RegExp(`GATEWAY_PID_FILE.*process ${pid}`),
      })
    }
  }
})

t.test('a number that now belongs to another program is ignored', async (t) => {
  const folder = programs(t)
  const path = join(folder, 'gateway.pid')
  for (const program of ['remain.js', 'workspace-gateway-docs/other.js']) {
    const { pid } = await start(t, join(folder, program))
    writeFileSync(path, `${pid}\n`)
    t.doesNotThrow(() => checkPidFile(path), program)
  }
})

t.test('the number of a process that has ended is ignored', async (t) => {
  const folder = programs(t)
  const path = join(folder, 'gateway.pid')
  const child = await start(t, join(folder, 'main.js'))
  writeFileSync(path, `${child.pid}\n`)
  t.throws(() => checkPidFile(path), AlreadyRunningError)
  child.kill('SIGKILL')
  await once(child, 'exit')
  t.doesNotThrow(() => checkPidFile(path))
})

t.test('a file that names no process is ignored', async (t) => {
  const folder = t.testdir()
  const path = join(folder, 'gateway.pid')
  t.doesNotThrow(() => checkPidFile(path), 'there is none')
  for (const content of [
    '',
    '\n',
    '0',
    '-1',
    '+1',
    '1.5',
    '1e3',
    '0x1',
    'abc',
    '4194304999',
    '99999999999',
    '1 2',
    '1\n2',
    '\u0000',
    'x'.repeat(100_000),
  ]) {
    writeFileSync(path, content)
    t.doesNotThrow(() => checkPidFile(path), JSON.stringify(content.slice(0, 20)))
  }
  t.doesNotThrow(() => checkPidFile(folder), 'a folder')
})

t.test('the file of a successor is not removed', async (t) => {
  const path = join(t.testdir(), 'gateway.pid')
  writePidFile(path)
  writeFileSync(path, `${process.pid + 1}\n`)
  removePidFile(path)
  t.ok(existsSync(path))
})

t.test('every digit of the number counts, and nothing may follow it', async (t) => {
  const path = join(t.testdir(), 'gateway.pid')
  for (const [text, own, isOurs] of [
    ['1', 1, true],
    ['10', 10, true],
    ['1029384756', 1_029_384_756, true],
    ['10x', 10, false],
    ['1e1', 10, false],
    ['10 10', 10, false],
    ['010', 10, false],
    ['x10', 10, false],
  ] as const) {
    writeFileSync(path, `${text}\n`)
    const { restore } = t.intercept(process, 'pid', { value: own })
    removePidFile(path)
    restore()
    t.equal(existsSync(path), !isOurs, text)
  }
})

t.test(
  'a process of another user is alive, and one without a readable command line counts as a gateway',
  async (t) => {
    const path = join(t.testdir(), 'gateway.pid')
    const nobody = 2_000_000_000 // more than any kernel assigns, so that it has no command line
    writeFileSync(path, `${nobody}\n`)
    for (const [code, isObstacle] of [
      [undefined, true],
      ['EPERM', true],
      ['ESRCH', false],
    ] as const) {
      const kill = () => {
        if (code !== undefined) throw Object.assign(new Error(code), { code })
        return true
      }
      const { restore } = t.intercept(process, 'kill', { value: kill })
      if (isObstacle) t.throws(() => checkPidFile(path), AlreadyRunningError, code ?? 'alive')
      else t.doesNotThrow(() => checkPidFile(path), code)
      restore()
    }
  },
)
