/** Does `terminal-credential` print only the credential, report what it did, and refuse a file that other users can read? */
import { chmodSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { terminalCredential } from '../../src/commands/terminal-credential.ts'
import { runCommand } from '../helpers/command.ts'
import { run, temporaryFolder } from '../helpers/process.ts'

t.test('the credential is created once, printed alone, and replaced with --rotate', async (t) => {
  const folder = join(temporaryFolder(t), 'state')
  const file = join(folder, 'terminal-credential')
  const call = async (...args: string[]) =>
    await runCommand(terminalCredential, args, { GATEWAY_STATE_DIR: folder })
  const first = await call()
  t.equal(first.code, 0)
  t.match(first.out, /^user:[\w-]{24}\n$/)
  t.equal(first.err, `workspace-gateway: made ${file}, the terminal's user and password\n`)
  t.equal(statSync(file).mode & 0o777, 0o600)

  t.same(await call(), { code: 0, out: first.out, err: '' })
  t.same(await call('--path'), { code: 0, out: `${file}\n`, err: '' })

  const rotated = await call('--rotate')
  t.equal(rotated.code, 0)
  t.match(rotated.out, /^user:[\w-]{24}\n$/)
  t.not(rotated.out, first.out)
  t.match(rotated.err, /replaced .* until it is started again/)
  t.same(await call(), { code: 0, out: rotated.out, err: '' })
  t.equal((await call('--rotate', '--path')).out, `${file}\n`)

  const credential = readFileSync(file, 'utf8').trim()
  chmodSync(file, 0o644)
  const refused = await call()
  t.equal(refused.code, 78)
  t.equal(refused.out, '')
  t.match(refused.err, /^workspace-gateway: .*can be read by others \(mode 0644\).*\n$/)
  t.notMatch(refused.err, credential)
})

t.test('the command needs only GATEWAY_STATE_DIR, and reports an error in one line', async (t) => {
  const folder = temporaryFolder(t)
  const made = run(t, ['terminal-credential'], { GATEWAY_STATE_DIR: folder, GATEWAY_NONSENSE: '1' })
  t.equal(await made.exited, 0)
  t.match(made.stdout(), /^user:[\w-]{24}\n$/)

  for (const [args, env, code, said] of [
    [[], { GATEWAY_STATE_DIR: '' }, 78, /GATEWAY_STATE_DIR is empty/],
    [[], { GATEWAY_STATE_DIR: '/dev/null/x' }, 78, /cannot be read or made \(ENOTDIR\)/],
    [['--rotat'], { GATEWAY_STATE_DIR: folder }, 64, /--rotat/],
    [['extra'], { GATEWAY_STATE_DIR: folder }, 64, /extra/],
  ] as const) {
    const program = run(t, ['terminal-credential', ...args], env)
    t.equal(await program.exited, code)
    t.equal(program.stdout(), '')
    t.match(program.stderr(), said)
    t.notMatch(program.stderr(), /\n\s+at /, 'no stack')
  }
})
