/** Are the daemon's lists of hosts and origins those of its config.json, and is a file that cannot be read an error and no empty list? */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { ConfigError } from '../../../src/config/load.ts'
import { readDaemonLists } from '../../../src/relay/target/daemon-lists.ts'
import { temporaryFolder } from '../../helpers/process.ts'

/** A folder of Hubcode with this text as its config.json. */
function homeWith(t: Test, text: string): string {
  const home = temporaryFolder(t)
  writeFileSync(join(home, 'config.json'), text)
  return home
}

t.test('without a folder, or without the file in it, nothing is added', async (t) => {
  const none = { allowedHosts: [], allowedOrigins: [] }
  t.same(readDaemonLists(undefined), none)
  t.same(readDaemonLists(temporaryFolder(t)), none)
  t.same(readDaemonLists(homeWith(t, '{"version":1,"daemon":{"listen":"127.0.0.1:6767"}}')), none)
})

t.test('the lists of the file are read, and what is always served is left out', async (t) => {
  const home = homeWith(
    t,
    JSON.stringify({
      daemon: {
        allowedHosts: ['localhost', '.localhost', '*.localhost', 'Mac.local', '.example.com'],
        cors: { allowedOrigins: ['https://app.example.com', 'hubcode://app'] },
      },
      cors: { allowedOrigins: ['http://localhost:3000'] },
    }),
  )
  t.same(readDaemonLists(home), {
    allowedHosts: ['mac.local', '.example.com'],
    allowedOrigins: ['https://app.example.com', 'hubcode://app', 'http://localhost:3000'],
  })
})

t.test('every host is served only where the file says true', async (t) => {
  const { allowedHosts } = readDaemonLists(homeWith(t, '{"daemon":{"allowedHosts":true}}'))
  t.same(allowedHosts, ['*'])
})

t.test('a file or an entry that cannot be understood is an error that names it', async (t) => {
  const rows: Array<[text: string, problem: RegExp]> = [
    ['', /config\.json is not a JSON object/],
    ['{', /config\.json is not a JSON object/],
    ['[]', /config\.json is not a JSON object/],
    ['null', /config\.json is not a JSON object/],
    ['{"daemon":[]}', /"daemon" of .* is not an object/],
    ['{"daemon":{"cors":"*"}}', /"cors" of .* is not an object/],
    ['{"daemon":{"allowedHosts":"a.example"}}', /daemon\.allowedHosts of .* is not a list/],
    ['{"daemon":{"allowedHosts":[".com"]}}', /daemon\.allowedHosts of .*whole top-level domain/],
    ['{"daemon":{"allowedHosts":["a:80"]}}', /daemon\.allowedHosts of .*neither a host name/],
    ['{"daemon":{"allowedHosts":[1]}}', /daemon\.allowedHosts of .*an entry is no text/],
    ['{"cors":{"allowedOrigins":["*"]}}', /cors\.allowedOrigins of .*not an http\(s\) origin/],
    ['{"cors":{"allowedOrigins":["https://a.b/"]}}', /cors\.allowedOrigins of .*did you mean/],
    [`{"x":"${'x'.repeat(1024 * 1024)}"}`, /is larger than/],
  ]
  for (const [text, problem] of rows)
    t.throws(
      () => readDaemonLists(homeWith(t, text)),
      { name: 'ConfigError', message: problem },
      text.slice(0, 50),
    )
  const many = '{"daemon":{"allowedHosts":["a:1","b:2"],"cors":1}}'
  try {
    readDaemonLists(homeWith(t, many))
    t.fail('it was taken')
  } catch (error) {
    t.equal((error as ConfigError).problems.length, 3, 'every problem at once')
  }
  const home = temporaryFolder(t)
  mkdirSync(join(home, 'config.json'))
  t.throws(() => readDaemonLists(home), { message: /config\.json cannot be read \(EISDIR\)/ })
})
