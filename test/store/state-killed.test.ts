/** Is nothing lost that was answered, whenever the process is killed? The program of test/helpers/sign-until-killed.ts is. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, writeFileSync } from 'node:fs'
import t, { type Test } from 'tap'
import { Sessions } from '../../src/identity/sessions.ts'
import { allSessions } from '../../src/store/session-rows.ts'
import { temporaryFolder } from '../helpers/process.ts'
import { fileIn, openState } from '../helpers/state.ts'
import { Arrivals } from '../helpers/waiting.ts'

const PROGRAM = new URL('../helpers/sign-until-killed.ts', import.meta.url).pathname

/** How often the program is killed from outside. TEST_ROUNDS changes it. */
const ROUNDS = Number(process.env['TEST_ROUNDS'] ?? 5)

/** Runs the program. @returns what it has answered, and what ended it */
async function signUntilKilled(t: Test, args: readonly string[], killAfterLines = Infinity) {
  const child = spawn(process.execPath, [PROGRAM, ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  t.teardown(() => child.kill('SIGKILL'))
  const arrivals = new Arrivals()
  let text = ''
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk
    if (text.split('\n').length > killAfterLines) child.kill('SIGKILL')
    arrivals.wake()
  })
  const [code, signal] = (await once(child, 'close')) as [number | null, string | null]
  return { lines: text.split('\n').slice(0, -1), ended: code ?? signal }
}

/** Opens the state and asserts that everything that was answered holds. */
async function assertKept(t: Test, stateDir: string, lines: readonly string[]) {
  const { state, ended, watermark, said } = await openState(t, stateDir)
  const sessions = new Sessions(state, { maxSeconds: 86_400, leewaySeconds: 30 })
  sessions.load(() => true)
  const kept = new Set(ended())
  const answered = lines.filter((line) => /^(used|ended) /.test(line))
  for (const line of answered) t.ok(kept.has(line.split(' ')[1] ?? ''), line)
  for (const line of lines.filter((one) => one.startsWith('ended ')))
    t.equal(sessions.find(line.slice('ended '.length)), undefined, `${line}, and not alive`)
  const rows = new Set((state.read(allSessions) ?? []).map(({ id }) => id))
  for (const line of lines.filter((one) => one.startsWith('used '))) {
    const id = line.slice('used ticket-'.length)
    t.ok(rows.has(`session-${id}`) || kept.has(`session-${id}`), 'a sign-in is whole')
  }
  const result = { watermark: watermark(), errors: said('error') }
  state.close()
  return result
}

t.test(
  'killed at every step of signing in and out, nothing is lost that was answered',
  async (t) => {
    const { lines } = await signUntilKilled(t, [temporaryFolder(t), '1000', '1'])
    t.same(
      lines.map((line) => line.split(' ')[0]),
      ['opened', 'used', 'ended', 'closed'],
      'without a kill',
    )
    for (let step = 1, isWhole = false; !isWhole; step++) {
      const stateDir = temporaryFolder(t)
      const run = await signUntilKilled(t, [stateDir, String(step), '1'])
      isWhole = run.ended === 0
      if (!isWhole) t.equal(run.ended, 'SIGKILL')
      const { errors, watermark } = await assertKept(t, stateDir, run.lines)
      t.same([errors, watermark], [[], undefined], `step ${step}: nothing is damaged`)
    }
  },
)

t.test(
  'killed at every step of beginning anew after damage: everybody stays signed out',
  async (t) => {
    for (let step = 1, isOpen = false; !isOpen; step++) {
      const stateDir = temporaryFolder(t)
      const { state } = await openState(t, stateDir)
      state.close()
      writeFileSync(fileIn(stateDir), 'x'.repeat(5000))
      const run = await signUntilKilled(t, [stateDir, String(step), '0'])
      isOpen = run.lines.includes('opened')
      const { watermark } = await assertKept(t, stateDir, [])
      t.ok(watermark, `step ${step}`)
    }
  },
)

t.test('killed at any moment, again and again', async (t) => {
  const stateDir = temporaryFolder(t)
  const lines: string[] = []
  for (let round = 1; round <= ROUNDS; round++) {
    const run = await signUntilKilled(t, [stateDir], 7 * round)
    t.equal(run.ended, 'SIGKILL')
    lines.push(...run.lines)
    await assertKept(t, stateDir, lines)
  }
  t.same(readdirSync(stateDir), ['state.db', 'state.lock'])
})
