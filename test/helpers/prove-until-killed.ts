/**
 * A program that enrols, shows a code, a backup code and wrong codes, and is killed meanwhile. It prints what it has answered, one
 * line each. Arguments: the state folder, and before which step after opening it kills itself.
 */
import fs from 'node:fs'
import { killAtStep } from './kill-at-step.ts'

const [stateDir = '', step = 'Infinity'] = process.argv.slice(2)
const startCounting = killAtStep(Number(step))

const { State } = await import('../../src/store/state.ts')
const { openLog } = await import('../../src/observe/log.ts')
const { codeAt, factorsOn, STEP } = await import('./factors.ts')

const say = (line: string) => fs.writeSync(1, `${line}\n`)

const { logger } = openLog('silent')
const state = await State.open(stateDir, { logger })
const { addApp, show, clock } = factorsOn(state)
startCounting()
const { secret, backupCodes } = addApp()
say(`enrolled ${secret}`)
const [backupCode = ''] = backupCodes
say(`${await show(backupCode)} ${backupCode}`)
clock.now += STEP
const code = codeAt(secret, clock.now)
say(`${await show(code)} ${code}`)
for (let i = 0; i < 5; i++) say(`${await show(codeAt(secret, clock.now + (9 + i) * STEP))} wrong`)
state.close()
say('closed')
