/** Does `api-token` make, list, replace and revoke tokens, through the running gateway and without one? */
import { execFileSync, spawn } from 'node:child_process'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import t from 'tap'
import { startAdmin } from '../../src/admin/door.ts'
import { apiToken } from '../../src/commands/api-token.ts'
import { State } from '../../src/store/state.ts'
import { runCommand } from '../helpers/command.ts'
import { recordingLogger } from '../helpers/operations.ts'
import { MAIN, run, serve, temporaryFolder, watch } from '../helpers/process.ts'
import { startUpstream } from '../helpers/upstream.ts'
import { send } from '../helpers/wire.ts'

/** The command with a state folder; `leaked` revokes what stands in a text that comes in these pieces. */
function commandIn(stateDir: string, more: Record<string, string> = {}) {
  const env = { GATEWAY_STATE_DIR: stateDir, ...more }
  const leaked = (...pieces: string[]) =>
    runCommand(
      apiToken,
      ['revoke', '--leaked', '-'],
      env,
      Readable.from(pieces.map((piece) => Buffer.from(piece))),
    )
  return {
    command: (...args: string[]) => runCommand(apiToken, args, env, Readable.from([])),
    leaked,
  }
}

type Command = ReturnType<typeof commandIn>['command']

async function listOf(command: Command): Promise<Array<Record<string, unknown>>> {
  return JSON.parse((await command('list', '--json')).out) as Array<Record<string, unknown>>
}

t.test('a token is made without a gateway, counts at the next, and is revoked there', async (t) => {
  const stateDir = temporaryFolder(t)
  const { command } = commandIn(stateDir)
  t.match(await command('list'), { code: 0, out: '', err: /there are no API tokens/ })
  const made = await command(
    'create',
    '--name',
    'ci',
    '--scope',
    'api,chat:read',
    '--ttl',
    '2h',
    '--from',
    '127.0.0.0/8, ::1',
  )
  t.match(made, { code: 0, out: /^hub_[0-9A-Za-z]{32}\n$/ })
  t.match(
    made.err,
    /made ci \(…\w{4}\) for owner: api, chat:read, from 127\.0\.0\.0\/8, ::1, until 20.*shown once/,
  )
  t.match(made.err, /shares the requests of its client address .*--rate N/)
  t.notMatch(made.err, made.out.trim())
  const service = await startUpstream(t)
  const gateway = await serve(t, { GATEWAY_STATE_DIR: stateDir, GATEWAY_API_URL: service.url })
  const status = async (token: string) =>
    (await send(gateway.port, 'GET /api/x', [`Authorization: Bearer ${token.trim()}`])).status
  t.equal(await status(made.out), 200)

  const second = await command(
    'create',
    '--name',
    'mine',
    '--sub',
    'bob',
    '--rate',
    '60',
    '--no-expiry',
  )
  t.match(second, { code: 0, err: /made mine .* for bob: api, without expiry/ })
  t.notMatch(second.err, 'shares')
  t.equal(await status(second.out), 200)
  const list = await listOf(command)
  t.same(Object.keys(list[0] ?? {}), [
    ...['id', 'name', 'last4', 'sub', 'scopes', 'from', 'rate', 'createdAt', 'expiresAt'],
    ...['lastUsedAt', 'lastUsedFrom', 'exposedAt', 'revokedAt', 'replacedBy'],
  ])
  t.match(list, [
    { name: 'ci', scopes: ['api', 'chat:read'], sub: 'owner', lastUsedFrom: '127.0.0.1' },
    { name: 'mine', sub: 'bob', rate: 60, expiresAt: null },
  ])
  const { out: table } = await command('list')
  t.match(table, /^NAME +ID +LAST4 +SUB +SCOPES +FROM +RATE +CREATED +EXPIRES +LAST USED/)
  t.match(table, /^mine +tok_\w+ +\w{4} +bob +api +- +60 .* never .* in force$/m)

  t.match(await command('revoke', 'ci'), { code: 0, out: /^ci \(…\w{4}\) revoked\n$/, err: '' })
  t.equal(await status(made.out), 401)
  t.match(await command('revoke', 'ci'), { code: 1, out: '', err: /No API token has this id/ })
  const id = String(list[1]?.['id'])
  const rotated = await command('rotate', id, '--overlap', '2h')
  t.match(rotated, { code: 0, out: /^hub_\w{32}\n$/ })
  t.match(rotated.err, /the old one \(…\w{4}\) is now mine-old and counts until 20/)
  t.same([await status(second.out), await status(rotated.out)], [200, 200])
  const again = await command('rotate', 'mine', '--overlap', '0')
  t.same([await status(rotated.out), await status(again.out)], [401, 200])
  t.match((await command('list')).out, /revoked$/m)

  gateway.child.kill('SIGTERM')
  t.equal(await gateway.exited, 0)
  t.match(await command('revoke', 'mine'), { code: 0 })
  t.match(
    (await listOf(command)).find(({ name }) => name === 'mine'),
    { revokedAt: /^20/ },
  )
  const written = [
    ...readdirSync(stateDir)
      .filter((name) => name.startsWith('state.db'))
      .map((name) => readFileSync(join(stateDir, name), 'latin1')),
    gateway.stdout(),
    gateway.stderr(),
  ].join('\n')
  for (const { out } of [made, second, rotated, again])
    t.notOk(written.includes(out.trim().slice(4)), 'no file and no log has a token')
})

t.test('tokens that leaked are found in a text of any length, and revoked', async (t) => {
  const stateDir = temporaryFolder(t)
  const { command, leaked } = commandIn(stateDir)
  const make = async (name: string) => (await command('create', '--name', name)).out.trim()
  const [one, two, three] = [await make('one'), await make('two'), await make('three')]
  t.match(await leaked('nothing'), { code: 0, out: '', err: /no token of this workspace/ })
  t.match(await leaked(), { code: 0, out: '' })
  const decoys = Array.from({ length: 2500 }, (_, i) => `hub_${String(i).padStart(32, 'x')}\n`)
  const text = `${decoys.join('')}export T=${one} hubhub_${two}!`
  const answer = await leaked(text.slice(0, -20), text.slice(-20), one)
  t.match(answer, { code: 0, err: '' })
  t.same(
    answer.out.split('\n').map((line) => line.split(' ')[0]),
    ['one', 'two', ''],
  )
  t.match(
    (await listOf(command)).map(({ name, exposedAt }) => [name, exposedAt !== null]),
    [
      ['one', true],
      ['two', true],
      ['three', false],
    ],
  )
  t.ok(three)
})

t.test(
  'the first of GATEWAY_OWNERS gets the tokens that the machine makes for nobody',
  async (t) => {
    const { command } = commandIn(temporaryFolder(t), { GATEWAY_OWNERS: 'carol,dave' })
    t.match(await command('create', '--name', 'a'), { code: 0, err: /for carol/ })
  },
)

t.test('standard output is the token alone, so that a shell can take it', async (t) => {
  const stateDir = temporaryFolder(t)
  const program = run(t, ['api-token', 'create', '--name', 'ci'], { GATEWAY_STATE_DIR: stateDir })
  t.equal(await program.exited, 0, program.stderr())
  const token = program.stdout().trim()
  t.match(program.stdout(), /^hub_[0-9A-Za-z]{32}\n$/)
  t.notMatch(program.stderr(), token)
  const out = execFileSync(process.execPath, [MAIN, 'api-token', 'revoke', '--leaked', '-'], {
    env: { GATEWAY_STATE_DIR: stateDir },
    input: `token: ${token}`,
    encoding: 'utf8',
  })
  t.match(out, /^ci \(…\w{4}\) revoked\n$/)
})

t.test('a state that another process writes is not touched', async (t) => {
  const stateDir = temporaryFolder(t)
  const state = await State.openForCommand(stateDir)
  t.teardown(() => state.close())
  const program = run(t, ['api-token', 'create', '--name', 'a'], { GATEWAY_STATE_DIR: stateDir })
  t.equal(await program.exited, 69)
  t.match(program.stderr(), /^workspace-gateway: GATEWAY_STATE_DIR .* is in use/)
  t.equal(program.stdout(), '')
})

t.test('a gateway that is starting is asked as soon as it can be', async (t) => {
  const stateDir = temporaryFolder(t)
  const state = await State.openForCommand(stateDir)
  t.teardown(() => state.close())
  const listed = commandIn(stateDir).command('list', '--json')
  await new Promise(setImmediate) // the command has found no admin socket, and now waits for the state
  const apiTokens = [
    { name: 'ci', lastUsedAt: null, revokedAt: null, expiresAt: null, exposedAt: null },
  ]
  const admin = await startAdmin({
    ...{ stateDir, ...recordingLogger() },
    routes: [{ method: 'GET', path: '/api-tokens', answer: () => ({ body: { apiTokens } }) }],
  })
  t.teardown(() => admin?.close())
  const { code, out } = await listed
  t.equal(code, 0)
  t.same(JSON.parse(out), apiTokens)
})

t.test('wrong usage and refusals are told apart', async (t) => {
  const { command } = commandIn(temporaryFolder(t))
  for (const args of [
    ...[[], ['make'], ['create'], ['create', '--name', 'a', '--ttl', '1y']],
    ...[
      ['create', '--name', 'a', '--ttl', '1h', '--no-expiry'],
      ['create', '--name', 'a', '--rate', 'x'],
    ],
    ...[['revoke'], ['revoke', ''], ['revoke', 'a', 'b'], ['revoke', 'a', '--leaked', '-']],
    ...[
      ['revoke', '--leaked', 'file'],
      ['rotate'],
      ['rotate', 'a', 'b'],
      ['rotate', 'a', '--overlap', 'x'],
    ],
  ])
    t.match(
      await command(...args),
      { code: 64, out: '', err: /\nTry "workspace-gateway help api-token"\.\n$/ },
      args.join(' '),
    )
  for (const [args, err] of [
    [['create', '--name', 'No'], /name of a token/],
    [['create', '--name', 'a', '--scope', 'root'], /A scope is a route/],
    [['create', '--name', 'a', '--from', 'here'], /addresses and CIDRs/],
    [['rotate', 'a'], /No API token/],
  ] as const)
    t.match(await command(...args), { code: 1, out: '', err }, args.join(' '))
  await t.rejects(command('list', 'x'), { code: /^ERR_PARSE_ARGS/ })
  const missing = commandIn('/nonexistent/gateway').command
  t.match(await missing('create', '--name', 'a'), { code: 69, err: /no gateway is running/ })
})

t.test('without a gateway, what a full disk does not take is not said to be revoked', async (t) => {
  const stateDir = temporaryFolder(t)
  const { command } = commandIn(stateDir)
  // So large that to revoke them takes more pages than the limit below leaves to a file.
  const long = Array.from({ length: 32 }, (_, i) => `api:/${i}${'x'.repeat(250)}`).join(',')
  const tokens: string[] = []
  for (let i = 0; i < 8; i++)
    tokens.push((await command('create', '--name', `t${i}`, '--scope', long)).out)
  const text = join(temporaryFolder(t), 'text')
  writeFileSync(text, tokens.join(''))
  // In blocks of 512 bytes: enough to open the state. Without the signal that comes with the limit, a write fails.
  const program = watch(
    t,
    spawn(
      'sh',
      [
        ...[
          '-c',
          'unset NODE_OPTIONS; trap "" XFSZ; ulimit -f 70; exec "$0" "$@" <"$LEAKED"',
          process.execPath,
          MAIN,
        ],
        ...['api-token', 'revoke', '--leaked', '-'],
      ],
      { env: { GATEWAY_STATE_DIR: stateDir, LEAKED: text }, stdio: ['ignore', 'pipe', 'pipe'] },
    ),
  )
  t.equal(await program.exited, 1)
  t.equal(program.stdout(), '')
  t.match(program.stderr(), /^workspace-gateway: not done: the state could not be written.*\n$/)
  const list = await listOf(command)
  t.equal(list.filter(({ revokedAt }) => revokedAt === null).length, 8)
  const revoked = await commandIn(stateDir).leaked(...tokens)
  t.equal(revoked.out.trim().split('\n').length, 8, 'with space it works')
})
