/** Is the terminal ttyd, with a password, at /terminal? A GET without the password tells, then one with it. */
import { readFileSync } from 'node:fs'
import { terminalCredentialFile } from '../../terminals/terminal-credential.ts'
import { startRemedy, type Examination } from './examination.ts'
import { fail, pass, skip, warn, type Finding } from './finding.ts'

const PASSWORD = 'terminal-asks-for-password'
const BASE_PATH = 'terminal-base-path'

const BASE_PATH_REMEDY = 'start ttyd with --base-path /terminal'
const PASSWORD_REMEDY =
  'start ttyd with --credential user:password; "workspace-gateway terminal-credential" makes and prints one, as examples/fly/boot.sh does'

/** On a Unix socket, it is normally the keeper of terminals that listens. It hangs up when ttyd behind it is away. */
const SOCKET_REMEDY =
  'start the keeper of terminals if terminals-keeper fails too, else ttyd behind it, at TERMINALS_TTYD_URL; or set GATEWAY_TERMINAL_URL to where ttyd listens'

export async function examineTerminal(examination: Examination): Promise<Finding[]> {
  const { terminalUrl, stateDir } = examination.config
  const ask = (authorization?: string) =>
    examination.askService('the terminal', terminalUrl, '/terminal/', { authorization })
  const reply = await ask()
  if (reply.kind === 'none') {
    return [
      fail(
        PASSWORD,
        `${terminalUrl.url}: ${reply.why}; people get 502 or 504 on /terminal`,
        terminalUrl.socketPath === undefined ? startRemedy('terminal') : SOCKET_REMEDY,
      ),
      skip(BASE_PATH, 'the terminal does not answer'),
    ]
  }
  const seen = `${terminalUrl.url} answered /terminal/ with ${reply.status} to a request without a password`
  const challenge = reply.headers['www-authenticate'] ?? ''
  if (reply.status === 401 && /^Basic\b/i.test(challenge))
    return [pass(PASSWORD, seen), await examineBasePath(stateDir, ask)]
  if (reply.status === 407) {
    return [
      fail(
        PASSWORD,
        `${seen}: ttyd runs with --auth-header, whose field the gateway takes away`,
        PASSWORD_REMEDY,
      ),
      skip(BASE_PATH, 'ttyd does not ask for a password'),
    ]
  }
  if (reply.status === 404) {
    return [
      fail(PASSWORD, `${seen}: nobody is asked for a password`, PASSWORD_REMEDY),
      fail(BASE_PATH, `${terminalUrl.url} has nothing at /terminal/`, BASE_PATH_REMEDY),
    ]
  }
  if (reply.status < 400) {
    return [
      fail(PASSWORD, `${seen}: whoever reaches that port has a shell`, PASSWORD_REMEDY),
      pass(BASE_PATH, `${terminalUrl.url} has a page at /terminal/`),
    ]
  }
  return [
    warn(PASSWORD, seen, 'see whether this is ttyd: it says 401 with WWW-Authenticate: Basic'),
    skip(BASE_PATH, 'what listens there does not answer as ttyd does'),
  ]
}

/** Asks for ttyd's page with the password, because without it ttyd answers 401 on every path. */
async function examineBasePath(
  stateDir: string,
  ask: (authorization: string) => ReturnType<Examination['askService']>,
): Promise<Finding> {
  const file = terminalCredentialFile(stateDir)
  const credential = readCredential(file)
  if (credential === undefined)
    return skip(BASE_PATH, `no credential can be read from ${file}, so ttyd tells nothing`)
  const reply = await ask(`Basic ${Buffer.from(credential).toString('base64')}`)
  if (reply.kind === 'none') return skip(BASE_PATH, `asked with the password: ${reply.why}`)
  if (reply.status === 200) return pass(BASE_PATH, 'the page is at /terminal/')
  if (reply.status === 404)
    return fail(BASE_PATH, 'the terminal has nothing at /terminal/', BASE_PATH_REMEDY)
  if (reply.status === 401) {
    return warn(
      BASE_PATH,
      `ttyd does not take the credential in ${file}`,
      'start ttyd with the credential in that file, or remove the file if it is not used',
    )
  }
  return warn(
    BASE_PATH,
    `the terminal answered /terminal/ with ${reply.status} to its own password`,
    "read ttyd's own log",
  )
}

function readCredential(file: string): string | undefined {
  try {
    const text = readFileSync(file, 'utf8').trim()
    return text === '' ? undefined : text
  } catch {
    return undefined
  }
}
