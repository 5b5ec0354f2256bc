/** Does `workspace-gateway limits check` say what the service would do, and what is wrong, all at once? */
import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { limits } from '../../src/commands/limits.ts'
import { CALLER_TOKEN } from '../helpers/limits.ts'
import { temporaryFolder } from '../helpers/process.ts'

async function check(env: Record<string, string>, ...args: readonly string[]) {
  let [out, err] = ['', '']
  const io = {
    out: (text: string) => void (out += text),
    err: (text: string) => void (err += text),
  }
  const code = await limits(['check', ...args], env, io)
  return { code, out, err }
}

t.test('a sound configuration is told with its policies, and nothing is opened', async (t) => {
  const folder = temporaryFolder(t)
  const file = join(folder, 'policies.yaml')
  writeFileSync(
    file,
    'policies:\n  - name: sandboxes\n    windows: [{points: 5, window: 60}]\n    store-away: allow\n',
  )
  const env = {
    LIMITS_TOKEN: `${CALLER_TOKEN}\n${CALLER_TOKEN}x`,
    LIMITS_SOCKET: join(folder, 'limits.sock'),
    LIMITS_STATE_DIR: join(folder, 'state'),
    LIMITS_POLICY_FILE: file,
  }
  const text = await check(env)
  t.equal(text.code, 0, text.err)
  t.equal(
    text.out,
    `The configuration is valid.

Port    127.0.0.1 7655, for callers with 2 tokens
Socket  ${env.LIMITS_SOCKET}, for whoever can open it
Kept    in SQLite, in ${env.LIMITS_STATE_DIR}

Policies
  provision  1 in 3600 s, 3 in 86400 s; while the store is away: refuse
  sandboxes  5 in 60 s; while the store is away: allow
`,
  )
  const json = await check(env, '--json')
  t.equal(json.code, 0)
  t.match(JSON.parse(json.out), {
    valid: true,
    problems: [],
    port: { host: '127.0.0.1', port: 7655, tokens: 2 },
    socket: env.LIMITS_SOCKET,
    store: { kind: 'sqlite', stateDir: env.LIMITS_STATE_DIR },
    policies: [
      {
        name: 'provision',
        windows: [
          { points: 1, seconds: 3600 },
          { points: 3, seconds: 86_400 },
        ],
        storeAway: 'refuse',
      },
      { name: 'sandboxes', storeAway: 'allow' },
    ],
  })
  t.notMatch(text.out + json.out, CALLER_TOKEN)
  t.notOk(existsSync(env.LIMITS_STATE_DIR))
  t.notOk(existsSync(env.LIMITS_SOCKET))
  t.equal(env.LIMITS_TOKEN.length > 0, true, 'check leaves the environment alone')
})

t.test('a Redis is named without its password', async (t) => {
  const env = { LIMITS_SOCKET: '/run/limits.sock', LIMITS_STORE_URL: 'redis://:hunter2@10.0.0.1' }
  const { code, out } = await check(env)
  t.equal(code, 0)
  t.match(out, 'in the Redis of LIMITS_STORE_URL')
  t.notMatch(out, /Port|hunter2/)
  const json = await check(env, '--json')
  t.match(JSON.parse(json.out), { port: null, store: { kind: 'redis' } })
  t.notMatch(json.out, /hunter2/)
})

t.test('everything that is wrong is said at once, with 78', async (t) => {
  const file = join(temporaryFolder(t), 'policies.yaml')
  writeFileSync(file, 'policies:\n  - name: Bad Name\n    windows: []\n')
  const env = { LIMITS_TOKEN: 'short', LIMITS_PROT: '1', LIMITS_POLICY_FILE: file }
  const { code, out, err } = await check(env)
  t.equal(code, 78)
  t.equal(out, '')
  for (const text of ['LIMITS_TOKEN', 'LIMITS_PROT is not a setting; did you mean', file])
    t.match(err, text)
  t.notMatch(err, /short/)
  const json = await check(env, '--json')
  t.equal(json.code, 78)
  const { valid, problems } = JSON.parse(json.out) as { valid: boolean; problems: string[] }
  t.equal(valid, false)
  t.ok(problems.length >= 3)
  const missing = await check({ LIMITS_TOKEN: CALLER_TOKEN, LIMITS_POLICY_FILE: `${file}.none` })
  t.equal(missing.code, 78)
  t.match(missing.err, 'LIMITS_POLICY_FILE')
  const relative = await check({ LIMITS_TOKEN: CALLER_TOKEN, LIMITS_POLICY_FILE: 'policies.yaml' })
  t.equal(relative.code, 78)
  t.match(relative.err, 'LIMITS_POLICY_FILE "policies.yaml" is not an absolute path')
})

t.test('other words are wrong usage', async (t) => {
  let err = ''
  const io = { out: () => {}, err: (text: string) => void (err += text) }
  t.equal(await limits(['now'], {}, io), 64)
  t.match(err, /^workspace-gateway: limits takes check, or nothing/)
  await t.rejects(limits(['check', '--now'], {}, io), { code: 'ERR_PARSE_ARGS_UNKNOWN_OPTION' })
})
