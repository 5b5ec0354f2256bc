/**
 * A program that takes points from a store of limits until it is killed. Each answer is a line: `taken USER ID`, `refused USER ID`,
 * `returned USER ID`; before it asks to give one back, it says `returning USER ID`. Arguments: the folder, and a name for its users.
 */
import { writeSync } from 'node:fs'
import { SqliteStore } from '../../src/fleet/sqlite-store.ts'
import { policyOf } from './limit-policy.ts'

const [stateDir = '', round = ''] = process.argv.slice(2)
const say = (line: string) => writeSync(1, `${line}\n`)
const store = SqliteStore.open(stateDir)
const policy = policyOf('killed', [
  [3, 3600],
  [10, 86_400],
])
say('opened')
for (let i = 0; ; i++) {
  const users = Array.from(
    { length: 8 },
    (_, place) => `${round}-${Math.floor(i / 6)}-${place % 4}`,
  )
  await Promise.all(
    users.map(async (user, place) => {
      const id = `${i}-${place}`
      const { outcome } = await store.take(policy, user, id)
      say(`${outcome} ${user} ${id}`)
      if (outcome !== 'taken' || i % 3 !== 0) return
      say(`returning ${user} ${id}`)
      await store.giveBack(policy, user, id)
      say(`returned ${user} ${id}`)
    }),
  )
}
