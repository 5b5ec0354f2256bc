/** Does the gateway listen, and does it refuse what it must? Four requests tell. */
import { mintToken } from '../../identity/mint.ts'
import type { Answer, NoAnswer } from './ask.ts'
import { DOCTOR, type Examination } from './examination.ts'
import { fail, pass, skip, warn, type Finding } from './finding.ts'

const LISTENS = 'gateway-listens'
const SIGN_IN = 'gateway-asks-for-sign-in'
const FILES = 'gateway-refuses-sensitive-files'
const TOKENS = 'gateway-takes-tokens'

const TOKEN_SECONDS = 60

/** Asks `/health` first, and skips the other questions when that is not answered by a gateway. */
export async function examineGateway(examination: Examination): Promise<Finding[]> {
  const reply = await examination.askGateway('/health')
  const listening = judgeHealth(examination, reply)
  if (reply.kind === 'none' || listening.verdict === 'fail') {
    const why = reply.kind === 'none' ? 'the gateway does not answer' : 'this is not the gateway'
    return [listening, ...[SIGN_IN, FILES, TOKENS].map((name) => skip(name, why))]
  }
  const answers = await Promise.all([
    examineSignIn(examination),
    examineSensitiveFiles(examination),
    examineTokens(examination),
  ])
  return [listening, ...answers]
}

function judgeHealth({ gateway }: Examination, reply: Answer | NoAnswer): Finding {
  const where = gateway?.text ?? 'the gateway'
  if (reply.kind === 'none') {
    return fail(
      LISTENS,
      `${where}: ${reply.why}`,
      'start it (workspace-gateway serve); when it stops at once, its exit code says why: 78 the configuration is wrong (workspace-gateway check), 69 the port is taken or forbidden',
    )
  }
  const code = reply.headers['x-gateway-error']
  const seen = `${where} answered /health with ${reply.status}${code === undefined ? '' : ` (${String(code)})`} in ${reply.ms} ms`
  if (reply.headers['x-request-id'] === undefined) {
    return fail(
      LISTENS,
      `${seen}, but not as the gateway does`,
      'another program listens there: stop it, or give the gateway another GATEWAY_PORT',
    )
  }
  if (reply.status === 200) return pass(LISTENS, seen)
  if (code === 'draining')
    return warn(LISTENS, `${seen}: it is stopping`, 'wait for its successor, and ask again')
  return warn(LISTENS, `${seen}: a prober takes the workspace away`, 'mend the stats server')
}

async function examineSignIn(examination: Examination): Promise<Finding> {
  const reply = await examination.askGateway('/', { headers: ['Accept', 'application/json'] })
  if (reply.kind === 'none') return skip(SIGN_IN, reply.why)
  const seen = `a request without a token got ${told(reply)}`
  if (reply.status === 401 && reply.headers['x-gateway-error'] !== undefined)
    return pass(SIGN_IN, seen)
  return (
    unasked(SIGN_IN, examination, reply) ??
    fail(
      SIGN_IN,
      seen,
      'take the workspace off the network: what listens there lets people in; then see which program it is',
    )
  )
}

async function examineSensitiveFiles(examination: Examination): Promise<Finding> {
  const reply = await examination.askGateway('/.env')
  if (reply.kind === 'none') return skip(FILES, reply.why)
  const seen = `/.env got ${told(reply)}`
  if (reply.status === 403 && reply.headers['x-gateway-error'] === 'sensitive-file')
    return pass(FILES, seen)
  return (
    unasked(FILES, examination, reply) ??
    fail(FILES, seen, 'see which program listens there: the gateway refuses this path to everybody')
  )
}

/** Checks that the gateway accepts a token of this configuration; otherwise it runs with another configuration. */
async function examineTokens(examination: Examination): Promise<Finding> {
  const { jwtSecret: secret, workspace, jwtIssuer: issuer } = examination.config
  const claims = { secret, workspace, issuer, subject: DOCTOR, ttlSeconds: TOKEN_SECONDS }
  const token = await mintToken(claims)
  const reply = await examination.askGateway('/api/readyz', {
    headers: ['Authorization', `Bearer ${token}`],
  })
  if (reply.kind === 'none')
    return warn(
      TOKENS,
      `a request with a token of this configuration: ${reply.why}`,
      'OpenClaw may be silent behind the gateway; see its own lines in this table',
    )
  const seen = `a token of this configuration got ${told(reply)}`
  const code = reply.headers['x-gateway-error']
  // A route that wants a second factor says so once it has verified the token.
  if (reply.status === 401 && code !== undefined && code !== 'step-up-required') {
    return fail(
      TOKENS,
      seen,
      'the running gateway has another secret, workspace or issuer than this environment: restart it, or send SIGHUP when only a secret file has changed',
    )
  }
  return unasked(TOKENS, examination, reply) ?? pass(TOKENS, seen)
}

/** The finding for a response that says nothing about the question: a spent budget, or a refused host. */
function unasked(
  name: string,
  { publicHost }: Examination,
  { status, headers }: Answer,
): Finding | undefined {
  if (status === 429 && headers['x-gateway-error'] === 'rate-limited') {
    return warn(
      name,
      "this machine's own address has spent its budget",
      `ask again in ${String(headers['retry-after'])} s`,
    )
  }
  if (headers['x-gateway-error'] === 'host-not-served') {
    return fail(
      name,
      `the running gateway does not serve ${publicHost}`,
      'it runs with another GATEWAY_WORKSPACE or GATEWAY_DOMAIN than this environment: restart it',
    )
  }
  return undefined
}

function told({ status, headers }: Answer): string {
  const code = headers['x-gateway-error']
  return code === undefined ? `${status} from a service` : `${status} ${String(code)}`
}
