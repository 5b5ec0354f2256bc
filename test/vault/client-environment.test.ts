/** Do programs find the service through the variables, and does git, the real one, obey its own? */
import { execFile } from 'node:child_process'
import { createServer } from 'node:http'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { readdirSync } from 'node:fs'
import { promisify } from 'node:util'
import t from 'tap'
import {
  clashOf,
  clientEnvironment,
  conflictingVariables,
  withoutTools,
} from '../../src/vault/client-environment.ts'
import { temporaryFolder } from '../helpers/process.ts'

const BASE = 'http://127.0.0.1:7000/s/'
const leased = (service: string, origin = 'https://example.test', baseUrl = BASE + service) => ({
  ...{ service, origin, baseUrl, token: 'hvl_abc' },
})

t.test('a service without a preset has a base URL and a token under its own name', async (t) => {
  t.same(clientEnvironment([leased('my-api'), leased('1pass')]), {
    MY_API_BASE_URL: `${BASE}my-api`,
    MY_API_TOKEN: 'hvl_abc',
    _1PASS_BASE_URL: `${BASE}1pass`,
    _1PASS_TOKEN: 'hvl_abc',
  })
})

t.test(
  'an entry of another workspace has the variables of the service that it is there',
  async (t) => {
    t.same(clientEnvironment([{ ...leased('model'), remote: 'anthropic' }]), {
      MODEL_BASE_URL: `${BASE}model`,
      MODEL_TOKEN: 'hvl_abc',
      ANTHROPIC_BASE_URL: `${BASE}model`,
      ANTHROPIC_API_KEY: 'hvl_abc',
    })
    t.same(conflictingVariables([{ ...leased('model'), remote: 'anthropic' }]), [
      'ANTHROPIC_AUTH_TOKEN',
    ])
  },
)

t.test('the variables are those that the tools of a service read', async (t) => {
  const all = ['github', 'anthropic', 'openai', 'slack', 'google'].map((one) => leased(one))
  t.match(clientEnvironment(all), {
    GITHUB_API_URL: `${BASE}github`,
    GITHUB_GRAPHQL_URL: `${BASE}github/graphql`,
    GITHUB_TOKEN: 'hvl_abc',
    ANTHROPIC_BASE_URL: `${BASE}anthropic`,
    ANTHROPIC_API_KEY: 'hvl_abc',
    OPENAI_BASE_URL: `${BASE}openai/v1`,
    OPENAI_API_KEY: 'hvl_abc',
    SLACK_API_URL: `${BASE}slack/api/`,
    SLACK_BOT_TOKEN: 'hvl_abc',
    GOOGLE_GEMINI_BASE_URL: `${BASE}google`,
    GEMINI_API_KEY: 'hvl_abc',
  })
  t.ok(conflictingVariables(all).includes('ANTHROPIC_AUTH_TOKEN'), 'a second key is taken away')
  t.same(conflictingVariables([leased('my-api')]), [])
})

t.test('of two entries of one service, the tools have the first, with its own token', (t) => {
  const origin = 'https://api.github.com'
  const bot = { ...leased('github-bot', origin), token: 'hvl_bot' }
  const both = [leased('github', origin), bot]
  t.match(clientEnvironment(both), {
    GITHUB_API_URL: `${BASE}github`,
    GITHUB_TOKEN: 'hvl_abc',
    GITHUB_BOT_BASE_URL: `${BASE}github-bot`,
    GITHUB_BOT_TOKEN: 'hvl_bot',
  })
  t.match(clientEnvironment(both.toReversed()), {
    GITHUB_API_URL: `${BASE}github-bot`,
    GITHUB_BOT_TOKEN: 'hvl_bot',
  })
  t.same(withoutTools(both), [bot])
  t.same(clashOf(both), undefined)
  const gits = ['acme', 'other'].map((one) => leased(one, 'https://github.com'))
  t.equal(clientEnvironment(gits)['GIT_CONFIG_COUNT'], '5', 'git is sent to the first')
  t.end()
})

t.test('two services that set one variable differently are named', (t) => {
  const slack = leased('slack', 'https://slack.com')
  const bot = { ...leased('slack-bot', 'https://bot.example'), token: 'hvl_bot' }
  t.same(clashOf([slack, bot]), { variable: 'SLACK_BOT_TOKEN', services: ['slack', 'slack-bot'] })
  t.same(clashOf([slack, leased('github')]), undefined)
  t.end()
})

t.test("git's configuration stands behind what is there already", async (t) => {
  const git = leased('github-git', 'https://github.com')
  const added = clientEnvironment([git], { GIT_CONFIG_COUNT: '2' })
  t.equal(added['GIT_CONFIG_COUNT'], '7')
  t.notOk('GIT_CONFIG_KEY_1' in added)
  t.equal(added['GIT_CONFIG_KEY_2'], `url.${BASE}github-git/.insteadOf`)
  t.equal(clientEnvironment([git], { GIT_CONFIG_COUNT: 'x' })['GIT_CONFIG_COUNT'], '5')
  t.notOk('GIT_CONFIG_COUNT' in clientEnvironment([leased('github')], {}))
})

t.test('no proxy sees a lease, and none is named where there is none', async (t) => {
  const one = [leased('my-api')]
  t.notOk('NO_PROXY' in clientEnvironment(one, { NO_PROXY: 'a.test' }))
  t.match(clientEnvironment(one, { http_proxy: 'http://proxy.test', NO_PROXY: 'a.test' }), {
    no_proxy: 'a.test,127.0.0.1',
    NO_PROXY: 'a.test,127.0.0.1',
  })
  t.notOk('NO_PROXY' in clientEnvironment([], { http_proxy: 'http://proxy.test' }))
})

t.test(
  'git sends what is for GitHub to the base URL, with the lease, and stores it nowhere',
  async (t) => {
    const seen: Array<{ url: string; authorization: string }> = []
    const server = createServer((request, response) => {
      const authorization = request.headers.authorization ?? ''
      seen.push({ url: request.url ?? '', authorization })
      if (authorization === '')
        return response.writeHead(401, { 'WWW-Authenticate': 'Basic realm="vault"' }).end()
      response.writeHead(200, { 'Content-Type': 'application/x-git-upload-pack-advertisement' })
      return response.end('001e# service=git-upload-pack\n00000000') // a repository without a branch
    }).listen(0, '127.0.0.1')
    await once(server, 'listening')
    t.teardown(() => server.close())
    const baseUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}/s/github-git`
    const home = temporaryFolder(t)
    const store = {
      GIT_CONFIG_COUNT: '1',
      GIT_CONFIG_KEY_0: 'credential.helper',
      GIT_CONFIG_VALUE_0: 'store',
    }
    const env = { PATH: process.env['PATH'], HOME: home, GIT_TERMINAL_PROMPT: '0', ...store }
    const added = clientEnvironment([leased('github-git', 'https://github.com', baseUrl)], env)
    for (const address of ['https://github.com/acme/site.git', 'git@github.com:acme/site.git']) {
      seen.length = 0
      await promisify(execFile)('git', ['ls-remote', address], { env: { ...env, ...added } })
      t.equal(seen.at(-1)?.url, '/s/github-git/acme/site.git/info/refs?service=git-upload-pack')
      const [, encoded = ''] = (seen.at(-1)?.authorization ?? '').split('Basic ')
      t.equal(Buffer.from(encoded, 'base64').toString(), 'x-access-token:hvl_abc')
    }
    t.same(readdirSync(home), [], 'no .git-credentials')
  },
)

t.test('git gives the lease to no other address of the same port', async (t) => {
  const env = { PATH: process.env['PATH'], HOME: temporaryFolder(t), GIT_TERMINAL_PROMPT: '0' }
  const added = clientEnvironment([leased('github-git', 'https://github.com')], env)
  const fill = async (path: string) => {
    const child = promisify(execFile)('git', ['credential', 'fill'], { env: { ...env, ...added } })
    child.child.stdin?.end(`protocol=http\nhost=127.0.0.1:7000\npath=${path}\n\n`)
    return (await child).stdout
  }
  t.match(await fill('s/github-git/acme/site.git'), 'password=hvl_abc')
  await t.rejects(fill('s/other/acme/site.git'))
  await t.rejects(fill('s/github-gitx/acme/site.git'))
})
