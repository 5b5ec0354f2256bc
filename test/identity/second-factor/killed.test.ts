/** Does what was answered hold, at whatever step the process is killed? The program of test/helpers/prove-until-killed.ts is. */
import { spawnSync } from 'node:child_process'
import t from 'tap'
import { factorsOn, START, STEP } from '../../helpers/factors.ts'
import { temporaryFolder } from '../../helpers/process.ts'
import { openState } from '../../helpers/state.ts'

const PROGRAM = new URL('../../helpers/prove-until-killed.ts', import.meta.url).pathname

/** Runs the program. @returns what it has answered, and whether it came to its end */
function proveUntilKilled(stateDir: string, step: string) {
  const { stdout, signal } = spawnSync(process.execPath, [PROGRAM, stateDir, step], {
    ...{ encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] },
  })
  return { lines: stdout.split('\n').slice(0, -1), isWhole: signal === null }
}

t.test('without a kill', async (t) => {
  const { lines } = proveUntilKilled(temporaryFolder(t), 'Infinity')
  t.same(
    lines.map((line) => line.split(' ')[0]),
    ['enrolled', 'done', 'done', ...Array.from({ length: 5 }, () => 'wrong-code'), 'closed'],
  )
})

t.test(
  'killed at every fourth step, no code counts twice and no wrong one is forgotten',
  async (t) => {
    for (let step = 1, isWhole = false; !isWhole; step += 4) {
      const stateDir = temporaryFolder(t)
      const run = proveUntilKilled(stateDir, String(step))
      isWhole = run.isWhole
      const { state, said } = await openState(t, stateDir)
      const { show, factors } = factorsOn(state, { at: START + STEP })
      const isEnrolled = run.lines.some((line) => line.startsWith('enrolled'))
      if (isEnrolled) t.ok(factors.isEnrolled('alice'), `step ${step}`)
      const { lockedUntil, backupCodes } = factors.enrolmentOf('alice')
      t.ok([undefined, 9, 10].includes(backupCodes?.left), 'an enrolment is whole')
      const wrong = run.lines.filter((line) => line === 'wrong-code wrong').length
      if (wrong === 5) t.ok(lockedUntil)
      for (const line of run.lines.filter((one) => one.startsWith('done ')).toReversed()) {
        const verdict = await show(line.split(' ')[1] ?? '')
        t.ok(verdict === 'code-used' || verdict === 'locked', `${line} at step ${step}: ${verdict}`)
      }
      t.same(said('error'), [])
      state.close()
    }
  },
)
