/**
 * What does a program see that `npm run vault -- exec demo` starts? This one shows it: a lease, no credential, and the answer of a
 * service that takes nothing but its credential.
 */
import { styleText } from 'node:util'

const { DEMO_BASE_URL: base, DEMO_TOKEN: lease } = process.env
const [path = '/hello'] = process.argv.slice(2)

const OTHER_PATHS = `
Add one of these to the command:
  /events   a stream
  /echo     the service repeats its credential, and you get asterisks; the third time in 10 minutes suspends the entry
  /admin    the entry does not have this path
`

if (base === undefined || lease === undefined) {
  process.stderr.write(
    'Start this with a lease: npm run --silent vault -- exec demo -- node embedded/vault-client.ts\n',
  )
  process.exitCode = 64
} else {
  await ask(base, lease)
}

async function ask(baseUrl: string, token: string): Promise<void> {
  say('I have a lease and no credential', token)
  say('I ask', `GET ${baseUrl}${path}`)
  const answer = await fetch(baseUrl + path, { headers: { authorization: `Bearer ${token}` } })
  const refused = answer.headers.get('x-vault-error')
  say(refused === null ? 'The service answers' : 'The vault refuses', String(answer.status))
  const pieces = answer.body?.pipeThrough(new TextDecoderStream())
  for await (const piece of pieces ?? []) process.stdout.write(piece)
  process.stdout.write('\n')
  if (path === '/hello') process.stdout.write(OTHER_PATHS)
}

function say(what: string, text: string): void {
  process.stdout.write(`${styleText('bold', what)}: ${text}\n`)
}
