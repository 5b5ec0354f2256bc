/** Is every way of running ttyd wrongly told apart? */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { examineTerminal } from '../../../src/commands/doctor/terminal.ts'
import { examined } from '../../helpers/examined.ts'
import { startFakeKeeper } from '../../helpers/fake-keeper.ts'
import { temporaryFolder } from '../../helpers/process.ts'
import { startUpstream } from '../../helpers/upstream.ts'

const CREDENTIAL = 'user:pass-of-test'
const BASIC = `Basic ${Buffer.from(CREDENTIAL).toString('base64')}`

/** A terminal that answers a request without and with its password so. */
async function examinedWith(t: Test, without: number, withPassword = 200, file = CREDENTIAL) {
  const { url } = await startUpstream(t, ({ headers, url: path }, response) => {
    response.statusCode =
      headers.authorization === BASIC && path === '/terminal/' ? withPassword : without
    if (response.statusCode === 401) response.setHeader('WWW-Authenticate', 'Basic realm="ttyd"')
    response.end()
  })
  const stateDir = temporaryFolder(t)
  if (file !== '') writeFileSync(join(stateDir, 'terminal-credential'), `${file}\n`)
  return examined(examineTerminal, { GATEWAY_TERMINAL_URL: url, GATEWAY_STATE_DIR: stateDir })
}

const PASSWORD = 'terminal-asks-for-password'
const BASE_PATH = 'terminal-base-path'

t.test('ttyd with a password and the base path passes both checks', async (t) => {
  const findings = await examinedWith(t, 401)
  t.match(findings[PASSWORD], { verdict: 'pass' })
  t.match(findings[BASE_PATH], { verdict: 'pass' })
})

t.test('the base path is seen only with the password', async (t) => {
  t.match((await examinedWith(t, 401, 404))[BASE_PATH], {
    verdict: 'fail',
    remedy: /--base-path \/terminal/,
  })
  t.match((await examinedWith(t, 401, 200, ''))[BASE_PATH], {
    verdict: 'skip',
    detail: /no credential/,
  })
  t.match((await examinedWith(t, 401, 200, 'user:another'))[BASE_PATH], {
    verdict: 'warn',
    detail: /does not take the credential/,
  })
  t.match((await examinedWith(t, 401, 500))[BASE_PATH], { verdict: 'warn' })
})

t.test('ttyd without a password and without the base path fails both checks', async (t) => {
  const findings = await examinedWith(t, 404)
  t.match(findings[PASSWORD], { verdict: 'fail', remedy: /--credential/ })
  t.match(findings[BASE_PATH], { verdict: 'fail', remedy: /--base-path/ })
})

t.test('ttyd with --auth-header cannot work behind the gateway', async (t) => {
  const findings = await examinedWith(t, 407)
  t.match(findings[PASSWORD], { verdict: 'fail', detail: /--auth-header/, remedy: /--credential/ })
})

t.test('nobody on a port is ttyd, and on a socket the keeper of terminals or ttyd', async (t) => {
  const remedyAt = async (url: string) => {
    const found = await examined(examineTerminal, { GATEWAY_TERMINAL_URL: url })
    t.match(found[PASSWORD], { verdict: 'fail' })
    return found[PASSWORD]?.remedy
  }
  t.match(await remedyAt('http://127.0.0.1:1'), /^start ttyd, or set GATEWAY_TERMINAL_URL/)
  const withoutTtyd = await startFakeKeeper(t, {
    'GET /terminal/': ({ socket }) => socket.destroy(),
  })
  for (const socket of [`unix:${temporaryFolder(t)}/none`, withoutTtyd.url])
    t.match(await remedyAt(socket), /^start the keeper .* if terminals-keeper fails too, else ttyd/)
})

t.test('a program that is not ttyd is a warning', async (t) => {
  t.match((await examinedWith(t, 503))[PASSWORD], { verdict: 'warn', remedy: /is ttyd/ })
})
