/** Do the pages for operators explain the log line that the gateway writes, and does their index name every page? */
import { globSync, readFileSync } from 'node:fs'
import t from 'tap'
import { logFields } from '../src/observe/log-line.ts'
import { rejectionOf, type Decision } from '../src/observe/record.ts'
import { STAGES } from '../src/request/outcome.ts'
import { errorField } from '../src/observe/log.ts'

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
