/** Do the pages for operators explain the log line that the gateway writes, and does their index name every page? */
import { globSync, readFileSync } from 'node:fs'
import t from 'tap'
import { logFields } from '../src/observe/log-line.ts'
import { rejectionOf, type Decision } from '../src/observe/record.ts'
import { STAGES } from '../src/request/outcome.ts'
import { MACHINE } from '../src/admin/caller.ts'
import { OWNER_ACTIONS } from '../src/admin/owner-actions.ts'
import { logAct } from '../src/admin/perform.ts'
import { COMMANDS } from '../src/commands/help.ts'
import { errorField } from '../src/observe/log.ts'
import { recordingLogger } from './helpers/operations.ts'

const page = readFileSync('docs/log.md', 'utf8')

t.test('every field of the request line is explained, and no other', async (t) => {
  const everything = {
    ...rejectionOf('id', 'client', 400, 'bad-request', 'reason'),
    ...{
      host: 'host',
      method: 'GET',
      path: '/',
      route: 'api',
      user: 'user',
      token: 'ci',
      websocket: true,
      terminal: 'back',
    },
    ...{ bytesIn: 1, upstreamMs: 1, trace: 'trace' },
  } as Decision
  const line = `{"level":"warn","time":""${logFields(everything)}${errorField(new Error('x'))},"msg":""}`
  const written = Object.keys(JSON.parse(line) as object)
  t.ok(written.length > 10)
  const explained = [...page.matchAll(/^\| `([A-Za-z]+)` \|/gm)].map(([, name]) => name)
  t.same(new Set(explained), new Set(written))
})

t.test('the index names every page for operators', async (t) => {
  const index = readFileSync('docs/operations.md', 'utf8')
  const forEngineers = ['docs/operations.md', 'docs/architecture.md', 'docs/contract.md']
  for (const path of globSync('docs/*.md').filter((one) => !forEngineers.includes(one)))
    t.match(index, `(${path.replace('docs/', '')})`)
})

t.test('what answers beside the numbered stages is named', async (t) => {
  for (const stage of STAGES.slice(STAGES.indexOf('upstream'))) t.match(page, `\`${stage}\``)
})

const commands = readFileSync('docs/commands.md', 'utf8')

t.test('the page of the commands has every command, and every action of an owner', async (t) => {
  const elsewhere = ['serve', 'token', 'terminal-credential', 'version', 'help']
  for (const name of Object.keys(COMMANDS).filter((one) => !elsewhere.includes(one)))
    t.match(commands, `workspace-gateway ${name}`)
  for (const { method, path } of Object.values(OWNER_ACTIONS))
    t.match(commands, `\`${method} ${path.replace(':id', 'ID').replace(':agent', 'AGENT')}`)
})

t.test('the page of the log explains the fields of what owners did', async (t) => {
  const fields = new Set<string>()
  const { logger, lines } = recordingLogger()
  logAct(logger, 'end-session', { ...MACHINE, address: '203.0.113.9' }, ['id'], true)
  for (const line of lines()) Object.keys(line).forEach((name) => fields.add(name))
  t.ok(fields.size > 6)
  for (const name of fields) t.match(page, `\`${name}\``)
})
