/** Does `npm start` show the vault at work, and does the vault never get in the way of the rest? */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { cookieFrom } from '../helpers/npm-start.ts'
import { MAIN, temporaryFolder } from '../helpers/process.ts'
import { eventually, isAlive, until } from '../helpers/waiting.ts'
import { start, type Welcome } from './started.ts'
import { openShell } from './terminal-client.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const CLIENT = join(ROOT, 'embedded/vault-client.ts')
const PORT = { GATEWAY_PORT: '0' }

interface Row {
  readonly op: string
  readonly agent: string
  readonly service?: string
  readonly path?: string
  readonly status?: number
}

/** The audit log of a workspace. */
function rowsIn(folder: string): Row[] {
  const text = readFileSync(join(folder, '.workspace/vault/vault-audit.jsonl'), 'utf8')
  return text
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line) as Row)
}

/** The process of the vault after this many starts, as its log names it. */
function vaultOf(folder: string, starts = 1): Promise<number> {
  const lines = () => readFileSync(join(folder, '.workspace/vault.log'), 'utf8').split('\n')
  return until(`start ${starts} in the log of the vault`, () => {
    const line = lines().filter((one) => one.includes('"keeping the vault"'))[starts - 1]
    return line === undefined ? undefined : (JSON.parse(line) as { pid: number }).pid
  })
}

/** Runs a command line in the project's folder, for the workspace in another one. */
async function runFor(folder: string, command: string, env: Record<string, string> = {}) {
  const child = spawn('sh', ['-c', command], {
    cwd: ROOT,
    env: { PATH: process.env['PATH'], GATEWAY_STATE_DIR: join(folder, '.workspace'), ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (text: string) => (output += text))
  const [code] = (await once(child, 'close')) as [number]
  return { code, output }
}

/** The command that is printed for the vault. */
const commandIn = ({ text }: Welcome) =>
  /npm run --silent vault -- exec demo -- .+/.exec(text)?.[0] ?? ''

const headersOf = ({ credential }: Welcome, cookie: { cookie: string }) => ({
  ...cookie,
  authorization: `Basic ${Buffer.from(credential).toString('base64')}`,
})

t.test('the printed command uses a credential that is shown nowhere', async (t) => {
  const folder = temporaryFolder(t)
  const { child, welcome, ended } = start(t, PORT, folder)
  const command = commandIn(await welcome())
  const hello = await runFor(folder, command)
  t.equal(hello.code, 0, hello.output)
  t.match(hello.output, 'The service answers: 200\n{"hello":"from the made-up service"')
  t.match(hello.output, /no credential: hvl_\w{32}\n/)
  t.match(await runFor(folder, `${command} /events`), { code: 0, output: '{"count":5,"of":5}' })
  const echo = await runFor(folder, `${command} /echo`)
  t.match(echo.output, /"authorization":"Bearer \*{37}"/)
  t.notMatch(echo.output, 'demo-')
  t.match(await runFor(folder, `${command} /admin`), { output: 'path-not-allowed' })
  t.match(
    rowsIn(folder).filter(({ op, path }) => op === 'use' && path === '/hello'),
    [{ agent: 'coder', service: 'demo' }],
  )

  const vault = await vaultOf(folder)
  const key = readFileSync(join(folder, '.workspace/vault/master-key'), 'utf8').trim()
  t.equal(Buffer.from(key, 'base64').length, 32)
  t.notMatch(readFileSync(`/proc/${vault}/environ`, 'utf8'), key)
  t.equal(statSync(join(folder, '.workspace/vault')).mode & 0o777, 0o700)
  child.kill('SIGINT')
  t.same(await ended, { code: 0, errors: '' })
  t.notOk(isAlive(vault))
  const after = await runFor(folder, command)
  t.equal(after.code, 69)
  t.match(after.output, 'no vault runs with this socket; start it with "npm start"')
})

t.test('the agent uses it with one click', async (t) => {
  const folder = temporaryFolder(t)
  const { origin, link } = await start(t, PORT, folder).welcome()
  const headers = { ...(await cookieFrom(link)), origin, 'content-type': 'application/json' }
  const body = JSON.stringify({ messages: [{ role: 'user', content: 'hello' }] })
  const ask = async () => {
    const url = `${origin}/api/v1/chat/completions`
    return await (await fetch(url, { method: 'POST', headers, body })).text()
  }
  t.match(await ask(), 'Through the vault it has just used a credential')
  t.match(
    rowsIn(folder).filter(({ op }) => op === 'use'),
    [
      { agent: 'coder', path: '/hello' },
      { agent: 'coder', status: 200 },
    ],
  )
  t.equal((await runFor(folder, 'npm run --silent vault -- revoke demo coder')).code, 0)
  const refused = await ask()
  t.match(refused, 'You said: hello')
  t.notMatch(refused, 'Through the vault')

  const remedy = 'npm run vault -- grant demo coder'
  const again = await runFor(folder, 'npm run --silent vault -- exec demo -- true')
  t.equal(again.code, 77)
  t.match(again.output, remedy, 'a remedy can be typed as it stands')
  t.equal((await runFor(folder, remedy)).code, 0)
  t.equal((await runFor(folder, 'npm run --silent vault -- exec demo -- true')).code, 0)
  const mistyped = await runFor(folder, 'npm run --silent vault -- lst')
  t.match(mistyped, { code: 64, output: 'Try "npx node src/main.ts help vault"' })
})

t.test('a shell of the workspace knows the place of the doors, and no other setting', async (t) => {
  const folder = temporaryFolder(t)
  const theirs = { VAULT_MASTER_KEY: 'the-key-of-another-vault', VAULT_FILE: '/nowhere/x.enc' }
  const { welcome } = start(t, { ...PORT, ...theirs, VAULT_ADDR: 'https://x.test' }, folder)
  const printed = await welcome()
  t.match(printed.text, 'It does not use VAULT_FILE, VAULT_MASTER_KEY: a vault of your own')
  t.notMatch(printed.text, 'VAULT_ADDR', 'that is of another program')
  const { origin, link } = printed
  const headers = { ...headersOf(printed, await cookieFrom(link)), origin }
  const shell = await openShell(t, origin, { headers }, printed.credential)
  shell.type('export -p; echo end-$((6*7))\r')
  const output = await shell.outputMatching(/end-42/)
  t.match(output, `VAULT_SOCKETS='${join(folder, '.workspace/doors')}'`)
  t.notMatch(output, /VAULT_(?!SOCKETS)|the-key-of-another/)
  shell.type(`${process.execPath} ${MAIN} vault exec demo -- ${process.execPath} ${CLIENT}\r`)
  t.match(await shell.outputMatching(/"credential":"right"/), 'The service answers')
})

t.test('what the vault refuses in an environment does not reach it', async (t) => {
  const folder = temporaryFolder(t)
  const env = { NODE_OPTIONS: '--no-warnings', https_proxy: 'http://127.0.0.1:9' }
  const { text } = await start(t, { ...PORT, ...env }, folder).welcome()
  t.match(text, 'npm run --silent vault')
})

t.test('the vault ends with an npm start that was killed, and the next one goes on', async (t) => {
  const folder = temporaryFolder(t)
  const first = start(t, PORT, folder)
  await first.welcome()
  t.equal((await runFor(folder, 'npm run --silent vault -- revoke demo coder')).code, 0)
  const vault = await vaultOf(folder)
  first.child.kill('SIGKILL')
  await first.ended
  const second = start(t, PORT, folder)
  const command = commandIn(await second.welcome())
  await eventually(() => !isAlive(vault), 'the end of the first vault')
  t.not(await vaultOf(folder, 2), vault)
  t.match(await runFor(folder, command), { code: 77, output: 'npm run vault -- grant demo coder' })
  t.equal((await runFor(folder, 'npm run --silent vault -- grant demo coder')).code, 0)
  t.match(await runFor(folder, command), { code: 0, output: '"credential":"right"' })
  t.match(await runFor(folder, 'npm run --silent vault -- audit verify'), { code: 0 })
})

t.test('a vault that ends is reported, and the rest goes on', async (t) => {
  const folder = temporaryFolder(t)
  const { child, welcome, ended } = start(t, PORT, folder)
  const { origin } = await welcome()
  const vault = await vaultOf(folder)
  process.kill(vault, 'SIGKILL')
  let errors = ''
  child.stderr.on('data', (text: string) => (errors += text))
  await eventually(() => errors.includes('The vault has ended (SIGKILL).'), 'a report')
  t.equal((await fetch(`${origin}/health`)).status, 200)
  child.kill('SIGTERM')
  t.equal((await ended).code, 0)
})

t.test('a vault that cannot start says why, and the workspace is up without it', async (t) => {
  const folder = temporaryFolder(t)
  const first = start(t, PORT, folder)
  await first.welcome()
  first.child.kill('SIGTERM')
  await first.ended
  const vault = join(folder, '.workspace/vault')
  const key = join(vault, 'master-key')

  const saysWhy = async (why: string | RegExp) => {
    const { child, welcome, ended } = start(t, PORT, folder)
    const { text, origin } = await welcome()
    t.match(text, 'Your workspace is up')
    t.match(text, 'The vault does not run, and everything else does:')
    t.match(text, why)
    t.notMatch(text, 'npm run --silent vault')
    t.equal((await fetch(`${origin}/health`)).status, 200)
    child.kill('SIGTERM')
    t.equal((await ended).code, 0)
  }
  chmodSync(key, 0o644)
  await saysWhy(`${key} can be read by others (mode 0644)`)
  rmSync(key)
  await saysWhy(`${key} is missing, and nothing else opens ${join(vault, '.vault.enc')}`)
  writeFileSync(key, Buffer.alloc(32, 'another key').toString('base64'), { mode: 0o600 })
  await saysWhy(/The vault ended while starting \(exit code 78\)\. [^]*VAULT_FILE/)
})

t.test('a path that is too long for a socket is named', async (t) => {
  const folder = join(temporaryFolder(t), 'x'.repeat(60))
  mkdirSync(folder)
  const { text } = await start(t, PORT, folder).welcome()
  t.match(text, `${join(folder, '.workspace/doors')} is longer than`)
  t.match(text, 'A shorter GATEWAY_STATE_DIR')
})

t.test('npm run vault means the vault of npm start, and starts none itself', async (t) => {
  const folder = temporaryFolder(t)
  await start(t, PORT, folder).welcome()
  const others = { VAULT_SOCKETS: '/nowhere', VAULT_FILE: '/nowhere/x', VAULT_AGENTS: 'x' }
  const list = await runFor(folder, 'npm run --silent vault -- list', others)
  t.match(list, { code: 0, output: /\ndemo {5}http:\/\/127\.0\.0\.1:\d+ .* coder / })
  const none = await runFor(folder, 'npm run --silent vault')
  t.match(none, { code: 64, output: 'npm run vault -- list' })
  const own = { GATEWAY_VAULT_SOCKETS: '/nowhere/of-my-own' }
  const other = await runFor(folder, 'npm run --silent vault -- list', own)
  t.match(other, { code: 69, output: '/nowhere/of-my-own/owner/owner.sock' })
})

t.test('the entry follows the made-up service to another port', async (t) => {
  const folder = temporaryFolder(t)
  const first = start(t, PORT, folder)
  await first.welcome()
  const originOf = async () => {
    const { output } = await runFor(folder, 'npm run --silent vault -- list --json')
    return (JSON.parse(output) as [{ origin: string }])[0].origin
  }
  const before = await originOf()
  first.child.kill('SIGTERM')
  await first.ended
  const other = createServer().listen(Number(new URL(before).port), '127.0.0.1')
  t.teardown(() => other.close())
  await once(other, 'listening')
  const command = commandIn(await start(t, PORT, folder).welcome())
  t.not(await originOf(), before)
  t.match(await runFor(folder, command), { code: 0, output: '"credential":"right"' })
})
