/** Attack: the service repeats the credential in a header, the body, an error page or the status line. */
import t from 'tap'
import { send } from '../../helpers/wire.ts'
import { CREDENTIAL } from '../../helpers/vault-entry.ts'
import { LEASE, startVault } from '../../helpers/vault-forwarder.ts'
import { answerText, sentField, startByteService } from '../../helpers/vault-service.ts'

const STARS = '*'.repeat(CREDENTIAL.length)

const base64 = (text: string) => Buffer.from(text).toString('base64')

/** Each answer, of the Authorization header that was sent. */
const ECHOES: Readonly<Record<string, (value: string) => string>> = {
  'in a header': (value) => answerText('', [`X-Debug: ${value}`]),
  "in a header's name": (value) => answerText('', [`X-${value.slice(7)}: 1`]),
  'in the body': (value) => answerText(`{"headers":{"authorization":"${value}"}}`),
  'in an error page': (value) => answerText(`<pre>${value}</pre>`, [], '500 Oops'),
  'in the status line': (value) => answerText('', [], `400 bad token ${value}`),
  'in a redirect': (value) =>
    answerText('', [`Location: /x?t=${encodeURIComponent(value)}`], '302 Found'),
  'in base64, first alignment': (value) => answerText(base64(value.slice(7))),
  'in base64, second alignment': (value) => answerText(base64(`:${value.slice(7)}!`)),
  'in base64, third alignment': (value) => answerText(base64(`::${value.slice(7)}!`)),
  'in hex': (value) => answerText(Buffer.from(value).toString('hex')),
  'in chunks': (value) =>
    `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n${Array.from(value, (letter) => `1\r\n${letter}\r\n`).join('')}0\r\n\r\n`,
}

for (const [name, echo] of Object.entries(ECHOES)) {
  t.test(`a credential that the service repeats ${name} is masked`, async (t) => {
    const service = await startByteService(t, (head) => echo(sentField(head, 'authorization')))
    const vault = await startVault(t, service.origin)
    const { raw, status } = await send(vault.port, 'GET /s/github/x', [LEASE])
    t.match(service.received(), CREDENTIAL, 'the service got it')
    t.not(status, 0)
    for (const form of [
      CREDENTIAL,
      base64(CREDENTIAL).slice(0, 12),
      Buffer.from(CREDENTIAL).toString('hex'),
    ])
      t.notMatch(raw, form)
    t.match(raw.replaceAll(/\r\n1\r\n|[^*]/g, ''), /\*{30}/)
    t.same(
      vault.rows.map(({ op, reason }) => reason ?? op),
      ['use', 'reflected', 'done'],
    )
    t.notMatch(vault.log(), CREDENTIAL)
  })
}

t.test('the length of the answer stays', async (t) => {
  const service = await startByteService(t, () => answerText(`<${CREDENTIAL}>`))
  const { port } = await startVault(t, service.origin)
  const { body, headers } = await send(port, 'GET /s/github/x', [LEASE])
  t.equal(body, `<${STARS}>`)
  t.equal(headers['content-length'], String(STARS.length + 2))
})

t.test('a version that is kept for a while is masked too', async (t) => {
  const older = {
    version: 1,
    createdAt: 0,
    keptUntil: 1,
    value: Buffer.from('ghp_theOlderOne01234'),
  }
  const service = await startByteService(t, () => answerText('ghp_theOlderOne01234'))
  const { port } = await startVault(t, service.origin, { kept: [older] })
  t.equal((await send(port, 'GET /s/github/x', [LEASE])).body, '*'.repeat(20))
})
