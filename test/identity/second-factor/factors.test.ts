/** Do second factors survive what the state survives, and fail closed when they cannot be read? */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { inspect } from 'node:util'
import { Secret } from 'otpauth'
import t from 'tap'
import { KeyRing } from '../../../src/identity/key-ring.ts'
import type { State } from '../../../src/store/state.ts'
import { restoreState, stateCopy } from '../../../src/store/state-backup.ts'
import { takeStateLock } from '../../../src/store/state-lock.ts'
import { CONFIG_SECRET, OTHER_CONFIG_SECRET } from '../../helpers/configuration.ts'
import { codeAt, factorsInMemory, factorsOn, STEP } from '../../helpers/factors.ts'
import { breakWrites } from '../../helpers/full-disk.ts'
import { temporaryFolder } from '../../helpers/process.ts'
import { fileIn, openState } from '../../helpers/state.ts'

/** Restores a backup, as the command does while no gateway runs. */
function restore(stateDir: string, copy: Buffer): void {
  const lock = takeStateLock(stateDir)
  restoreState(stateDir, copy)
  lock?.release()
}

t.test('nothing secret is in the files', async (t) => {
  const stateDir = temporaryFolder(t)
  const { state } = await openState(t, stateDir)
  const { addApp } = factorsOn(state)
  const { secret, backupCodes } = addApp()
  state.flush()
  const files = readdirSync(stateDir).map((name) => readFileSync(join(stateDir, name)))
  state.close()
  files.push(readFileSync(fileIn(stateDir)))
  const raw = Buffer.from(Secret.fromBase32(secret).bytes)
  const bare = backupCodes.map((code) => code.replaceAll('-', ''))
  const secrets = [raw, raw.toString('hex'), secret, CONFIG_SECRET, ...backupCodes, ...bare]
  for (const file of files) for (const one of secrets) t.equal(file.indexOf(one), -1)
  t.ok(files.some((file) => file.includes('alice')))
})

t.test('a key prints nothing of its secret, and derives a key for each purpose', async (t) => {
  const { signing } = new KeyRing([CONFIG_SECRET])
  t.notOk(inspect(signing, { depth: 9, showHidden: true }).includes(CONFIG_SECRET))
  t.notOk(JSON.stringify(signing).includes(CONFIG_SECRET))
  t.equal(signing.derive('a').length, 32)
  t.same(signing.derive('a'), new KeyRing([CONFIG_SECRET]).signing.derive('a'))
  t.notSame(signing.derive('a'), signing.derive('b'))
  t.notSame(signing.derive('a'), new KeyRing([OTHER_CONFIG_SECRET]).signing.derive('a'))
})

t.test('a rotation encrypts again, and without its key an app is refused and stays', async (t) => {
  const stateDir = temporaryFolder(t)
  const first = await openState(t, stateDir)
  const one = factorsOn(first.state)
  const { secret, backupCodes } = one.addApp()
  first.state.close()

  const second = await openState(t, stateDir)
  const lost = factorsOn(second.state, { keys: new KeyRing([OTHER_CONFIG_SECRET]) })
  lost.clock.now += STEP
  t.ok(lost.factors.isEnrolled('alice'))
  t.equal(await lost.show(codeAt(secret, lost.clock.now)), 'factor-key-missing')
  t.equal(await lost.show(backupCodes[0] ?? ''), 'factor-key-missing')
  t.match(lost.factors.enrolmentOf('alice'), {
    totp: { problem: 'factor-key-missing' },
    backupCodes: { problem: 'factor-key-missing' },
    isLost: false,
  })
  lost.keys.replace([OTHER_CONFIG_SECRET, CONFIG_SECRET])
  lost.factors.rewrap()
  lost.keys.replace([OTHER_CONFIG_SECRET])
  t.equal(await lost.show(codeAt(secret, lost.clock.now)), 'done')
  t.equal(await lost.show(backupCodes[0] ?? ''), 'done')
  second.state.close()

  const third = await openState(t, stateDir)
  const back = factorsOn(third.state, { keys: new KeyRing([CONFIG_SECRET, OTHER_CONFIG_SECRET]) })
  third.state.close()
  const fourth = await openState(t, stateDir)
  const last = factorsOn(fourth.state)
  last.clock.now = back.clock.now + 2 * STEP
  t.equal(await last.show(codeAt(secret, last.clock.now)), 'done', 'a start does it too')
})

t.test('a row that was changed is refused and counts as enrolled', async (t) => {
  for (const change of [
    "UPDATE totp SET sealed = x'00'",
    "UPDATE totp SET sealed = x''",
    'UPDATE totp SET sealed = zeroblob(48)',
    'UPDATE totp SET sealed = (SELECT sealed FROM backup_sets)',
    "UPDATE totp SET id = 'other'",
    "UPDATE totp SET sealed = (SELECT sealed FROM totp WHERE subject = 'bob') WHERE subject = 'alice'",
  ]) {
    const { state, clock, show, addApp, factors } = factorsInMemory(t)
    const { secret } = addApp()
    addApp('bob')
    const where = change.includes('WHERE subject') ? '' : " WHERE subject = 'alice'"
    state.write((database) =>
      database.exec(change.replace('backup_sets)', "backup_sets WHERE subject = 'alice')") + where),
    )
    factors.load()
    clock.now += STEP
    t.equal(await show(codeAt(secret, clock.now)), 'factor-unreadable', change)
    t.ok(factors.isEnrolled('alice'))
    t.equal(factors.enrolmentOf('alice').totp?.problem, 'factor-unreadable')
  }
})

t.test('a state that is closed: everybody counts as enrolled, and nothing is proven', async (t) => {
  const { state, factors, show } = factorsInMemory(t)
  t.notOk(factors.isEnrolled('alice'))
  state.close()
  factors.load()
  t.ok(factors.isEnrolled('alice'))
  t.equal(await show('123456'), 'factor-unreadable')
  t.equal(factors.enrolmentOf('alice').isLost, true)
})

t.test('a state folder of somebody else: nobody knows who has a factor', async (t) => {
  const { state } = await openState(t, temporaryFolder(t), { isUsable: false })
  const { factors, show } = factorsOn(state)
  t.ok(factors.isEnrolled('alice'))
  t.equal(await show('123456'), 'factor-unreadable')
})

t.test(
  'a state that cannot be seen, or read before it is handed over: nobody knows either',
  async (t) => {
    const file = join(temporaryFolder(t), 'file')
    writeFileSync(file, 'in the path of the folder')
    const unseen = await openState(t, join(file, 'state'))
    t.ok(factorsOn(unseen.state).factors.isEnrolled('alice'))
    const stateDir = temporaryFolder(t)
    writeFileSync(fileIn(stateDir), 'x'.repeat(5000))
    const { state } = await openState(t, stateDir, { takesOver: true })
    t.ok(factorsOn(state).factors.isEnrolled('alice'))
  },
)

t.test('a full disk: no code counts, nor is one tried for free', async (t) => {
  const { state, clock, show, addApp, factors } = factorsInMemory(t)
  const begun = factors.beginTotp('bob', { sessionId: 's', hasProof: false })
  if (!begun.isDone) throw new Error(begun.reason)
  const confirmation = { sessionId: 's', id: begun.id, code: codeAt(begun.secret, clock.now) }
  const { secret, id, backupCodes } = addApp()
  clock.now += STEP
  const code = codeAt(secret, clock.now)
  const free = breakWrites(state)
  for (const text of [code, code === '000000' ? '000001' : '000000', backupCodes[0] ?? ''])
    await t.rejects(show(text), { code: 'state-unavailable' })
  for (const change of [
    () => factors.remove('alice', id),
    () => factors.reset('alice'),
    () => factors.unlock('alice'),
    () => factors.newBackupCodes('alice'),
    () => factors.confirmTotp('bob', confirmation),
  ])
    t.throws(change, { code: 'state-unavailable' })
  t.notOk(factors.isEnrolled('bob'))
  free()
  t.equal(await show(code), 'done')
  t.equal(await show(backupCodes[0] ?? ''), 'done')
  t.ok(factors.confirmTotp('bob', confirmation).isDone, 'the set-up was not lost')
})

t.test('removing the last factor removes the backup codes', async (t) => {
  const { factors, addApp, show } = factorsInMemory(t)
  t.match(factors.newBackupCodes('alice'), { isDone: false, reason: 'not-enrolled' })
  const { id, backupCodes } = addApp()
  t.notOk(factors.remove('bob', id), 'of somebody else')
  t.notOk(factors.remove('alice', 'none'))
  t.ok(factors.isEnrolled('alice'))
  t.ok(factors.remove('alice', id))
  t.notOk(factors.isEnrolled('alice'))
  t.equal(await show(backupCodes[0] ?? ''), 'not-enrolled')
})

t.test('a reset removes everything, also what was begun', async (t) => {
  const { factors, addApp, clock } = factorsInMemory(t)
  addApp()
  const begun = factors.beginTotp('alice', { sessionId: 'thief', hasProof: true })
  if (!begun.isDone) throw new Error(begun.reason)
  t.ok(factors.reset('alice'))
  t.notOk(factors.isEnrolled('alice'))
  const code = codeAt(begun.secret, clock.now)
  const confirmation = { sessionId: 'thief', id: begun.id, code }
  t.match(factors.confirmTotp('alice', confirmation), { reason: 'enrolment-gone' })
  t.same(factors.list(), [])
  t.notOk(factors.reset('alice'), 'there was nothing')
})

t.test(
  'after a damage everybody may have had a factor, until a reset on the machine',
  async (t) => {
    const stateDir = temporaryFolder(t)
    const first = await openState(t, stateDir)
    factorsOn(first.state).addApp()
    first.state.close()
    writeFileSync(fileIn(stateDir), 'x'.repeat(5000))
    for (const round of ['found', 'a start later']) {
      const { state } = await openState(t, stateDir)
      const { factors, show } = factorsOn(state)
      t.ok(factors.isEnrolled('alice'), round)
      t.ok(factors.isEnrolled('bob'), 'and nobody knows who')
      t.equal(await show('123456'), 'factor-unreadable')
      t.equal(factors.enrolmentOf('alice').isLost, true)
      t.match(factors.beginTotp('bob', { sessionId: 's', hasProof: false }), {
        reason: 'factor-needed',
      })
      state.close()
    }
    const { state } = await openState(t, stateDir)
    const { factors, addApp, show, clock } = factorsOn(state)
    t.ok(factors.reset('alice'))
    t.notOk(factors.isEnrolled('alice'))
    t.ok(factors.isEnrolled('bob'))
    const { secret } = addApp()
    clock.now += STEP
    t.equal(await show(codeAt(secret, clock.now)), 'done')
    t.equal(factors.enrolmentOf('bob').isLost, true)
    t.equal(addApp('bob', true).backupCodes.length, 10)
    t.equal(factors.enrolmentOf('bob').isLost, false, 'who has one now has lost none')
  },
)

t.test('a backup that is restored brings back nothing that was used or removed', async (t) => {
  const stateDir = temporaryFolder(t)
  const first = await openState(t, stateDir)
  const one = factorsOn(first.state)
  const alice = one.addApp()
  const bob = one.addApp('bob')
  const carol = one.addApp('carol')
  first.state.flush()
  const copy = stateCopy(stateDir) ?? Buffer.alloc(0)
  one.clock.now += STEP
  const code = codeAt(alice.secret, one.clock.now)
  t.equal(await one.show(code), 'done')
  t.equal(await one.show(alice.backupCodes[0] ?? ''), 'done')
  one.factors.remove('bob', bob.id)
  one.factors.reset('carol')
  const dave = one.addApp('dave')
  const newer = one.addApp('carol')
  first.state.close()

  restore(stateDir, copy)
  const second = await openState(t, stateDir)
  const two = factorsOn(second.state, { at: one.clock.now })
  t.equal(await two.show(code), 'code-used')
  t.equal(await two.show(alice.backupCodes[0] ?? ''), 'code-used')
  t.equal(await two.show(alice.backupCodes[1] ?? ''), 'done')
  t.notOk(two.factors.isEnrolled('bob'), 'bob’s phone was stolen')
  t.ok(two.factors.isEnrolled('dave'), 'who came after the backup')
  two.clock.now += STEP
  t.equal(await two.show(codeAt(dave.secret, two.clock.now), 'dave'), 'done')
  t.equal(await two.show(codeAt(carol.secret, two.clock.now), 'carol'), 'wrong-code')
  t.equal(await two.show(codeAt(newer.secret, two.clock.now), 'carol'), 'done')
  t.equal(two.factors.enrolmentOf('carol').backupCodes?.left, 10)
})

t.test(
  'so many are removed that the oldest are forgotten, and a backup brings none back',
  async (t) => {
    const stateDir = temporaryFolder(t)
    const first = await openState(t, stateDir)
    const one = factorsOn(first.state)
    const alice = one.addApp()
    const bob = one.addApp('bob')
    first.state.flush()
    const copy = stateCopy(stateDir) ?? Buffer.alloc(0)
    one.clock.now += STEP
    one.factors.remove('bob', bob.id)
    one.clock.now += STEP
    const listed = (state: State) =>
      state.read((database) =>
        Number(database.prepare('SELECT count(*) AS n FROM removed_factors').get()?.['n']),
      )
    first.state.write((database) => {
      const insert = database.prepare('INSERT INTO removed_factors (id, at) VALUES (?, ?)')
      for (let i = 0; i < 10_000; i++) insert.run(`app_${i}`, one.clock.now + i)
    })
    t.equal(listed(first.state), 10_002, 'with bob’s app and codes')
    one.clock.now += STEP
    one.factors.remove('dave', one.addApp('dave').id)
    t.equal(listed(first.state), 10_000)
    first.state.close()
    for (const round of ['once', 'and again']) {
      restore(stateDir, copy)
      const { state } = await openState(t, stateDir)
      const { factors, show, clock } = factorsOn(state, { at: one.clock.now })
      t.notOk(factors.isEnrolled('bob'), round)
      t.notOk(factors.isEnrolled('dave'))
      clock.now += round === 'once' ? 2 * STEP : 3 * STEP
      t.equal(await show(codeAt(alice.secret, clock.now)), 'done', 'alice has hers')
      t.equal(listed(state), 10_000)
      state.close()
    }
  },
)

t.test('a state that was begun anew takes everything from a backup', async (t) => {
  const [stateDir, machine] = [temporaryFolder(t), temporaryFolder(t)]
  const first = await openState(t, stateDir)
  const one = factorsOn(first.state)
  const { secret } = one.addApp()
  first.state.close()
  const copy = stateCopy(stateDir) ?? Buffer.alloc(0)
  const second = await openState(t, machine)
  factorsOn(second.state, { at: one.clock.now + 9 * STEP }).addApp('bob')
  second.state.close()
  restore(machine, copy)
  const { state } = await openState(t, machine)
  const { show, factors } = factorsOn(state, { at: one.clock.now + STEP })
  t.equal(await show(codeAt(secret, one.clock.now + STEP)), 'done')
  t.ok(factors.isEnrolled('bob'))
})

t.test(
  'a predecessor’s uses count for the successor, and it changes nothing any more',
  async (t) => {
    const stateDir = temporaryFolder(t)
    const old = await openState(t, stateDir)
    const before = factorsOn(old.state)
    const { secret } = before.addApp()
    const next = await openState(t, stateDir, { takesOver: true })
    const after = factorsOn(next.state)
    after.clock.now += STEP
    const code = codeAt(secret, after.clock.now)
    await t.rejects(after.show(code), { code: 'state-unavailable' }, 'not before it is in charge')
    before.clock.now += STEP
    t.equal(await before.show(code), 'done')
    old.state.handOver()
    await next.state.takeOver()
    t.equal(await after.show(code), 'code-used')
    before.clock.now += STEP
    after.clock.now += STEP
    const newest = codeAt(secret, after.clock.now)
    await t.rejects(before.show(newest), { code: 'state-unavailable' })
    t.equal(await after.show(newest), 'done')
    after.factors.reset('alice')
    old.state.catchUp()
    t.notOk(before.factors.isEnrolled('alice'))
  },
)
