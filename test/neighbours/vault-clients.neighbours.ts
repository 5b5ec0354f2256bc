/**
 * Do real clients work through the real vault, unchanged and without the credential? curl, git, Node's fetch and two SDKs, with a
 * port of the vault's own and with the one of `exec`.
 */
import { spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { agentSocket, ownerSocket } from '../../src/vault/protocol.ts'
import { MAIN, temporaryFolder } from '../helpers/process.ts'
import { FOLDER, startProgram, until, type Program } from './neighbour.ts'
import { sdksIn } from './sdks.ts'
import { PIECES, startServices, type Services } from './vault-services.ts'

/** A vault that runs, with its services. */
interface Setting {
  readonly services: Services
  /** The credentials, by service. */
  readonly secrets: Readonly<Record<string, string>>
  /** Runs a program with a lease. */
  readonly exec: (service: string, program: readonly string[], cwd?: string) => Program
}

const SERVICES = ['github', 'github-git', 'anthropic', 'openai'] as const

/** Starts the vault as the user of these tests, who is owner and agent. */
async function startVault(t: Test, settings: Record<string, string>): Promise<Setting> {
  const folder = temporaryFolder(t)
  const services = await startServices(folder)
  t.teardown(() => services.stop())
  const sockets = join(folder, 'doors')
  const keyFile = join(folder, 'master-key')
  writeFileSync(keyFile, randomBytes(32).toString('base64'), { mode: 0o600 })
  const own = {
    PATH: process.env['PATH'],
    HOME: folder,
    VAULT_SOCKETS: sockets,
    VAULT_AGENTS: `coder:${process.getuid?.()}`,
  }
  // tap gives every process NODE_OPTIONS, and the vault does not start with it.
  const vault = startProgram('env', ['-u', 'NODE_OPTIONS', process.execPath, MAIN, 'vault'], {
    env: {
      ...own,
      VAULT_FILE: join(folder, '.vault.enc'),
      VAULT_STATE_DIR: folder,
      VAULT_MASTER_KEY_FILE: keyFile,
      VAULT_EXTRA_CA_FILE: services.caFile,
      ...settings,
    },
  })
  t.teardown(() => vault.stop())
  await until('the doors', () => {
    if (vault.output().includes('workspace-gateway:')) throw new Error(vault.output())
    return [ownerSocket(sockets), agentSocket(sockets, 'coder')].every((path) => existsSync(path))
  })
  const secrets: Record<string, string> = {}
  for (const service of SERVICES) {
    secrets[service] = `secret-of-${service}-${randomBytes(12).toString('hex')}`
    const where = ['--origin', services.origin, '--allow-private', '--grant', 'coder']
    const paths = service === 'github-git' ? ['--paths', '/acme'] : []
    const added = spawnSync(process.execPath, [MAIN, 'vault', 'add', service, ...where, ...paths], {
      input: secrets[service],
      env: own,
      encoding: 'utf8',
    })
    if (added.status !== 0) throw new Error(`vault add ${service}: ${added.stderr}`)
  }
  return {
    ...{ services, secrets },
    exec: (service, program, cwd = folder) => {
      const one = startProgram(
        process.execPath,
        [MAIN, 'vault', 'exec', service, '--', ...program],
        {
          ...{ cwd, env: own },
        },
      )
      t.teardown(() => one.stop())
      return one
    },
  }
}

/** Prints the environment first, so that a credential in it would be in the output. */
const shell = (script: string) => ['sh', '-ec', `env; ${script}`]
const node = (script: string) => [
  process.execPath,
  '--input-type=module',
  '-e',
  `console.log(process.env); ${script}`,
]

/** The credential is in nothing that the client printed, and no lease in anything that the service got. */
function nothingLeaked(t: Test, { secrets, services }: Setting, output: string): void {
  for (const secret of Object.values(secrets)) {
    t.notMatch(output, secret)
    t.notMatch(output, Buffer.from(secret).toString('base64').slice(4, -4))
  }
  t.match(output, 'hvl_', 'the environment was printed')
  t.notMatch(JSON.stringify(services.came), 'hvl_')
  t.notMatch(JSON.stringify(services.came), Buffer.from('hvl_').toString('base64').slice(0, 5))
}

/** Runs a client of a stream: the second piece is sent only when the client has printed the first. */
async function streams(t: Test, setting: Setting, start: () => Program): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>()
  setting.services.beforeSecond = promise
  const client = start()
  await client.written(new RegExp(`piece: ${PIECES[0]}`))
  t.notMatch(client.output(), PIECES[1])
  resolve()
  t.equal(await client.exited, 0, client.output())
  t.match(client.output(), `piece: ${PIECES[1]}`)
  nothingLeaked(t, setting, client.output())
}

for (const [how, settings] of [
  ['through the port of exec', {}],
  ['through a port of the vault', { VAULT_PORT: '0' }],
] as const)
  t.test(how, async (t) => {
    const setting = await startVault(t, settings)
    const { services, secrets, exec } = setting
    t.beforeEach(() => void services.came.splice(0))

    t.test('curl', async (t) => {
      const client = exec(
        'github',
        shell(
          'curl -sS --fail -H "Authorization: Bearer $GITHUB_TOKEN" "$GITHUB_API_URL/repos/acme/site?a=b"',
        ),
      )
      t.equal(await client.exited, 0, client.output())
      t.match(client.output(), '{"name":"site"}')
      t.match(services.came, [
        {
          method: 'GET',
          url: '/repos/acme/site?a=b',
          headers: { authorization: `Bearer ${secrets['github']}` },
        },
      ])
      nothingLeaked(t, setting, client.output())
    })

    t.test('curl cannot leave the paths of the entry', async (t) => {
      const client = exec(
        'github',
        shell(
          'curl -sS -i --path-as-is -H "Authorization: Bearer $GITHUB_TOKEN" "$GITHUB_API_URL/user"',
        ),
      )
      t.equal(await client.exited, 0, client.output())
      t.match(client.output(), /403 .*[^]*x-vault-error: path-not-allowed/i)
      t.same(services.came, [], 'the service was not asked')
    })

    t.test('git clones and pushes', async (t) => {
      const place = temporaryFolder(t)
      const commit = 'git -c user.name=a -c user.email=a@example.test commit -qam second'
      const client = exec(
        'github-git',
        shell(`git clone -q https://github.com/acme/site.git; cd site; git remote -v; cat .git/config
          echo more >>README; ${commit}; git push -q; git ls-remote git@github.com:acme/site.git`),
        place,
      )
      t.equal(await client.exited, 0, client.output())
      t.equal(readFileSync(join(place, 'site', 'README'), 'utf8'), 'the site\nmore\n')
      const basic = Buffer.from(`x-access-token:${secrets['github-git']}`).toString('base64')
      t.ok(services.came.length >= 4)
      for (const { headers } of services.came) t.equal(headers.authorization, `Basic ${basic}`)
      t.notMatch(readFileSync(join(place, 'site', '.git', 'config'), 'utf8'), /hvl_|127\.0\.0\.1/)
      nothingLeaked(t, setting, client.output())
    })

    t.test('Node’s fetch reads a stream', async (t) => {
      const script = `
        const headers = { authorization: 'token ' + process.env.GITHUB_TOKEN }
        const answer = await fetch(process.env.GITHUB_API_URL + '/repos/events', { headers })
        for await (const piece of answer.body.pipeThrough(new TextDecoderStream())) console.log('piece: ' + piece)`
      await streams(t, setting, () => exec('github', node(script)))
      t.match(services.came, [{ headers: { authorization: `Bearer ${secrets['github']}` } }])
    })

    t.test('the SDK of Anthropic reads a stream', async (t) => {
      const script = `
        import Anthropic from '@anthropic-ai/sdk'
        const messages = [{ role: 'user', content: 'hello' }]
        const stream = await new Anthropic().messages.create({ model: 'fake-1', max_tokens: 9, stream: true, messages })
        for await (const event of stream) if (event.type === 'content_block_delta') console.log('piece: ' + event.delta.text)`
      await streams(t, setting, () => exec('anthropic', node(script), sdksIn(FOLDER)))
      t.equal(services.came.length, 1)
      const { headers } = services.came[0] ?? {}
      t.equal(headers?.['x-api-key'], secrets['anthropic'])
      t.ok(headers?.['anthropic-version'])
      t.equal(headers?.authorization, undefined)
    })

    t.test('the SDK of OpenAI reads a stream', async (t) => {
      const script = `
        import OpenAI from 'openai'
        const messages = [{ role: 'user', content: 'hello' }]
        const stream = await new OpenAI().chat.completions.create({ model: 'fake-1', stream: true, messages })
        for await (const { choices } of stream) console.log('piece: ' + choices[0].delta.content)`
      await streams(t, setting, () => exec('openai', node(script), sdksIn(FOLDER)))
      t.match(services.came, [
        { url: '/v1/chat/completions', headers: { authorization: `Bearer ${secrets['openai']}` } },
      ])
    })

    t.test('a service that was not granted starts no program', async (t) => {
      const client = exec('slack', ['echo', 'it ran'])
      t.equal(await client.exited, 77)
      t.notMatch(client.output(), 'it ran')
      t.match(client.output(), 'workspace-gateway vault grant slack coder')
    })
  })
