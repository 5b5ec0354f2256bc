/**
 * A program that writes an audit log whose files are short, and kills itself with SIGKILL before a step of writing
 * (test/helpers/file-steps.ts). It prints the number of each row that is on the disk. Arguments: the path of the log and the step.
 */
import fs from 'node:fs'
import { watchFileSteps } from './file-steps.ts'

const [path = '', stepText = '0'] = process.argv.slice(2)
const step = Number(stepText)
let steps = 0

const { writeSync } = fs
const say = (line: string) => writeSync(1, `${line}\n`)

const { AuditLog } = await import('../../src/vault/audit/audit-log.ts')

watchFileSteps((name) => {
  if (name === 'closeSync') return // changes nothing that lasts
  if (++steps === step) process.kill(process.pid, 'SIGKILL')
})
const audit = AuditLog.open(path, { maxFileBytes: 700 })
for (let i = 0; i < 5; i++) say(String(audit.write({ op: 'use', ms: i })))
audit.close()
