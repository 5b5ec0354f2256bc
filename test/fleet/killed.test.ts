/** Is what was answered there, whenever the process is killed? The program of test/helpers/take-until-killed.ts is. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import t, { type Test } from 'tap'
import { SqliteStore } from '../../src/fleet/sqlite-store.ts'
import { policyOf } from '../helpers/limit-policy.ts'
import { temporaryFolder } from '../helpers/process.ts'

const PROGRAM = new URL('../helpers/take-until-killed.ts', import.meta.url).pathname

/** How often the program is killed. TEST_ROUNDS changes it. */
const ROUNDS = Number(process.env['TEST_ROUNDS'] ?? 40)

/** Points of a user in an hour, which no test lasts. */
const POINTS = 3
const POLICY = policyOf('killed', [[POINTS, 3600]])

/** Runs the program and kills it when it has said so many lines. @returns what it has said */
async function takeUntilKilled(t: Test, stateDir: string, round: number, lines: number) {
  const child = spawn(process.execPath, [PROGRAM, stateDir, String(round)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  t.teardown(() => child.kill('SIGKILL'))
  let text = ''
  let seen = 0
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk
    seen += chunk.split('\n').length - 1
    if (seen >= lines) child.kill('SIGKILL')
  })
  await once(child, 'close')
  return text.split('\n').slice(0, -1)
}

/** The grants that each user must have, must not have, and may have. */
function expectedOf(lines: readonly string[]) {
  const has = new Set<string>()
  const hasNot = new Set<string>()
  const users = new Set<string>()
  for (const line of lines) {
    const [what = '', user = '', id = ''] = line.split(' ')
    if (what === 'opened') continue
    users.add(user)
    if (what === 'taken') has.add(`${user} ${id}`)
    if (what === 'refused' || what === 'returned') hasNot.add(`${user} ${id}`)
    if (what === 'returning') has.delete(`${user} ${id}`) // until it is answered, nobody knows
  }
  return { has, hasNot, users }
}

/** Asserts that the store has what was answered. @returns the most that a user has */
async function assertKept(t: Test, stateDir: string, lines: readonly string[]): Promise<number> {
  const { has, hasNot, users } = expectedOf(lines)
  const store = SqliteStore.open(stateDir)
  const found = await Promise.all(
    [...users].map(async (user) => {
      const { grants } = await store.look(POLICY, user)
      return grants.map(({ id }) => `${user} ${id}`)
    }),
  )
  await store.close()
  const all = new Set(found.flat())
  t.same(
    [...has].filter((grant) => !all.has(grant)),
    [],
    'nothing is lost',
  )
  t.same(
    [...hasNot].filter((grant) => all.has(grant)),
    [],
    'nothing is there that was refused or given back',
  )
  return Math.max(0, ...found.map((grants) => grants.length))
}

t.test('every answered grant is there, and never one too many', async (t) => {
  const stateDir = temporaryFolder(t)
  const lines: string[] = []
  for (let round = 0; round < ROUNDS; round++) {
    const said = await takeUntilKilled(t, stateDir, round, 1 + Math.floor(Math.random() * 300))
    t.equal(said[0], 'opened', `round ${round}: also after a kill`)
    t.ok((await assertKept(t, stateDir, said)) <= POINTS)
    lines.push(...said)
  }
  t.equal(await assertKept(t, stateDir, lines), POINTS)
  for (const what of ['taken', 'refused', 'returned'])
    t.ok(
      lines.some((line) => line.startsWith(what)),
      what,
    )
})
