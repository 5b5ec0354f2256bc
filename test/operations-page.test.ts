/** Does docs/operations.md explain the log line that the gateway writes? */
import { readFileSync } from 'node:fs'
import t from 'tap'
import { STAGES } from '../src/exchange.ts'

const page = readFileSync('docs/operations.md', 'utf8')

t.test('every field of the request line is explained, and no other', async (t) => {
  const code = readFileSync('plugins/request-log.ts', 'utf8')
  const [, body = ''] = /const line = \{\n(.*?)\n {2}\}/s.exec(code) ?? []
  const written = [...body.matchAll(/^ {4}([A-Za-z]+)[,:]/gm)].map(([, name]) => name)
  t.ok(written.length > 10)
  const [, table = ''] = /\n## The log\n(.*?)\n## /s.exec(page) ?? []
  const explained = [...table.matchAll(/^\| `([A-Za-z]+)` \|/gm)].map(([, name]) => name)
  t.same(new Set(explained), new Set([...written, 'level', 'time', 'msg']))
})

t.test('what answers beside the numbered stages is named', async (t) => {
  for (const stage of STAGES.slice(STAGES.indexOf('upstream'))) t.match(page, `\`${stage}\``)
})
