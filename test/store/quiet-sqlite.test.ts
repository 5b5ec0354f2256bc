/** Is the one warning about SQLite dropped, and no other? */
import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import t from 'tap'
import { withoutSqliteWarning } from '../../src/store/quiet-sqlite.ts'

t.test(
  'only the warning that SQLite is experimental is dropped, and only while it is loaded',
  async (t) => {
    const seen: string[] = []
    const note = ({ message }: Error) => void seen.push(message)
    process.on('warning', note)
    t.teardown(() => process.off('warning', note))
    const emitWarning: unknown = Reflect.get(process, 'emitWarning')
    const text = 'SQLite is an experimental feature and might change at any time'
    const loaded = withoutSqliteWarning(() => {
      process.emitWarning(text, 'ExperimentalWarning')
      process.emitWarning('Something else', 'ExperimentalWarning')
      process.emitWarning('SQLite is slow today')
      return 'loaded'
    })
    t.equal(loaded, 'loaded')
    t.equal(Reflect.get(process, 'emitWarning'), emitWarning, 'as before')
    t.throws(() =>
      withoutSqliteWarning(() => {
        throw new Error('cannot be loaded')
      }),
    )
    t.equal(Reflect.get(process, 'emitWarning'), emitWarning, 'as before, also after an error')
    process.emitWarning(text, 'ExperimentalWarning')
    while (seen.length < 3) await once(process, 'warning')
    t.same(seen, ['Something else', 'SQLite is slow today', text])
  },
)

t.test('a command prints nothing on standard error besides its own lines', async (t) => {
  const { stderr, status } = spawnSync(
    process.execPath,
    [new URL('../../src/main.ts', import.meta.url).pathname, 'sessions', 'list'],
    { env: { GATEWAY_STATE_DIR: t.testdir() }, encoding: 'utf8' },
  )
  t.equal(status, 0)
  t.equal(stderr, 'workspace-gateway: nobody is signed in\n')
})
