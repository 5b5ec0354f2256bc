/** Does piped output of the tests say all about a failure, little about success, and the sum that .ci/run reads? */
import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import t from 'tap'
import BriefReport from './helpers/brief-report.ts'
import { temporaryFolder } from './helpers/process.ts'

/** What the report says about this TAP, which comes in pieces of so many bytes. */
async function reportOf(tap: string, size = 997): Promise<string> {
  const report = new BriefReport()
  const bytes = Buffer.from(tap)
  for (let at = 0; at < bytes.length; at += size) report.write(bytes.subarray(at, at + size))
  report.end()
  return String(await buffer(report))
}

/** The TAP of a file, in which the last assertion fails if that is wanted. */
function fileOf(name: string, passed: number, failing = ''): string {
  const points = Array.from({ length: passed }, (_, i) => `        ok ${i + 1} - is fine\n`)
  const last = failing === '' ? '' : `        not ok ${passed + 1} - ${failing}\n`
  const diagnostics = '          ---\n          diff: |\n            +é not ok\n          ...\n'
  const ok = failing === '' ? 'ok' : 'not ok'
  return [
    `# Subtest: ${name}\n    # Subtest: a behaviour\n`,
    ...points,
    ...(failing === '' ? [] : [last, diagnostics]),
    `        1..${passed}\n    ${ok} 1 - a behaviour # time=3ms\n\n    1..1\n    # time=5ms\n`,
    `${name} writes this itself\n${ok} 1 - ${name} # time=5ms\n\n`,
  ].join('')
}

const end = (pass: number, fail: number) =>
  `1..3\n# { total: ${pass + fail}, pass: ${pass}${fail > 0 ? `, fail: ${fail}` : ''} }\n# time=9ms\n`

t.test('300 files of 100 assertions that pass are less than 20 lines', async (t) => {
  const files = Array.from({ length: 300 }, (_, i) => fileOf(`test/${i}.test.ts`, 100))
  const text = await reportOf(`TAP version 14\n${files.join('')}${end(30_000, 0)}`, 65_536)
  t.ok(text.split('\n').length < 20, text)
  t.match(text, '# 300 files have run\n')
  t.notMatch(text, / ok |is fine|writes this/)
})

t.test(
  'a failure is shown with where it is, its diagnostics and what its file wrote',
  async (t) => {
    for (const size of [1, 7, 65_536]) {
      const text = await reportOf(
        `${fileOf('good.ts', 2)}${fileOf('bad.ts', 3, 'is not')}${fileOf('late.ts', 2)}`,
        size,
      )
      t.equal(
        text,
        `# Subtest: bad.ts
    # Subtest: a behaviour
        not ok 4 - is not
          ---
          diff: |
            +é not ok
          ...
    not ok 1 - a behaviour # time=3ms
bad.ts writes this itself
not ok 1 - bad.ts # time=5ms
`,
      )
    }
  },
)

t.test('what is skipped, bails out or breaks off is shown too', async (t) => {
  t.equal(await reportOf('    ok 1 - x # SKIP no tool\n'), '    ok 1 - x # SKIP no tool\n')
  t.equal(await reportOf('    1..0 # SKIP no tool\n'), '    1..0 # SKIP no tool\n')
  t.equal(await reportOf('Bail out! no port'), 'Bail out! no port\n')
  t.equal(await reportOf('# Subtest: a.ts\n    ok 1 - x\nout of memory'), 'out of memory\n')
})

t.test('.ci/run reads the sum', async (t) => {
  const [, program = ''] = /^awk '([^']+)' tap\.log/m.exec(readFileSync('.ci/run', 'utf8')) ?? []
  const folder = temporaryFolder(t)
  const summed = async (name: string, tap: string) => {
    writeFileSync(join(folder, name), await reportOf(tap))
    return join(folder, name)
  }
  const logs = [
    await summed('tap.log', `${fileOf('bad.ts', 3, 'is not')}${end(40, 2)}`),
    await summed('neighbours.log', `${fileOf('good.ts', 3)}${end(5, 0)}`),
  ]
  t.equal(String(execFileSync('awk', [program, ...logs])), '45 passed, 2 failed\n')
})

t.test('npm test uses it where no terminal shows the output', async (t) => {
  const { scripts } = JSON.parse(readFileSync('package.json', 'utf8')) as {
    scripts: Record<string, string>
  }
  t.match(scripts['tap'], '[ -t 1 ] || export TAP_REPORTER=./test/helpers/brief-report.ts; tap')
})
