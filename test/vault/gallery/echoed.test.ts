/** Attack: the service repeats the credential in a header, the body, an error page or the status line. */
import { CREDENTIAL } from '../../helpers/vault-entry.ts'
import { bodyOf, isStolen, runAgainstVault, type VaultPlace } from './attack.ts'
import { answerText, sentField, startByteService } from '../../helpers/vault-service.ts'
import { eventually } from '../../helpers/waiting.ts'
import { unescapedHtml } from '../../helpers/decoded.ts'
import type { Test } from 'tap'

const STARS = '*'.repeat(CREDENTIAL.length)

const base64 = (text: string) => Buffer.from(text).toString('base64')
const fromBase64 = (text: string) => Buffer.from(text, 'base64').toString('latin1')
const asIs = (text: string) => text

/** What the service answers, of the Authorization header that it was sent, and how the attacker reads what he gets. */
interface Echo {
  readonly answer: (value: string) => string | Buffer
  readonly read?: (body: string) => string
  readonly entry?: object
}

const echo =
  ({ answer, read = asIs, entry = {} }: Echo) =>
  async (t: Test, { aim, vault }: VaultPlace) => {
    const service = await startByteService(t, (head) => answer(sentField(head, 'authorization')))
    const { send, uses, endings } = await aim(service.origin, entry)
    const got = await send('GET /x')
    t.not(got.status, 0)
    t.not(sentField(service.received(), 'authorization'), '', 'the service got it')
    await endings()
    t.same(
      uses().map(({ op, reason }) => reason ?? op),
      ['use', 'reflected', 'done'],
    )
    t.match(got.raw.replaceAll(/\r\n1\r\n|[^*]/g, ''), /\*{30}/)
    t.notMatch(vault.program.stdout(), CREDENTIAL)
    return isStolen(got.raw) || isStolen(read(bodyOf(got)))
  }

const MARKED = 'p<ss&word"with\'marks>0123456789'

await runAgainstVault(import.meta.url, {
  'in a header': echo({ answer: (value) => answerText('', [`X-Debug: ${value}`]) }),
  "in a header's name": echo({ answer: (value) => answerText('', [`X-${value.slice(7)}: 1`]) }),
  'in the body': echo({
    answer: (value) => answerText(`{"headers":{"authorization":"${value}"}}`),
  }),
  'in an error page': echo({
    answer: (value) => answerText(`<pre>${value}</pre>`, [], '500 Oops'),
  }),
  'in the status line': echo({ answer: (value) => answerText('', [], `400 bad token ${value}`) }),
  'in a redirect': echo({
    answer: (value) => answerText('', [`Location: /x?t=${encodeURIComponent(value)}`], '302 Found'),
  }),
  'in base64, first alignment': echo({
    answer: (value) => answerText(base64(value.slice(7))),
    read: fromBase64,
  }),
  'in base64, second alignment': echo({
    answer: (value) => answerText(base64(`:${value.slice(7)}!`)),
    read: fromBase64,
  }),
  'in base64, third alignment': echo({
    answer: (value) => answerText(base64(`::${value.slice(7)}!`)),
    read: fromBase64,
  }),
  'in the base64 of Basic': echo({
    answer: (value) => answerText(value.slice(6)),
    read: fromBase64,
    entry: { kind: 'basic', slot: 'Authorization: x-access-token:{}' },
  }),
  'in hex': echo({
    answer: (value) => answerText(Buffer.from(value).toString('hex')),
    read: (body) => Buffer.from(body, 'hex').toString('latin1'),
  }),
  'in UTF-16': echo({
    answer: (value) => answerText(Buffer.from(value, 'utf16le')),
    read: (body) => Buffer.from(body, 'latin1').toString('utf16le'),
  }),
  'in chunks': echo({
    answer: (value) =>
      `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n${Array.from(value, (letter) => `1\r\n${letter}\r\n`).join('')}0\r\n\r\n`,
  }),
  'in an error page, escaped for HTML': async (t, { aim }) => {
    let page = ''
    const service = await startByteService(t, () => answerText(page, [], '500 Oops'))
    const { send } = await aim(service.origin, { value: MARKED })
    const stolen: string[] = []
    for (const [tick, quote] of [
      ['&#39;', '&quot;'],
      ['&#x27;', '&#34;'],
    ] as const) {
      page = MARKED.replaceAll('&', '&amp;')
        .replaceAll('<', '&lt;')
        .replaceAll('>', '&gt;')
        .replaceAll("'", tick)
        .replaceAll('"', quote)
      stolen.push(unescapedHtml(bodyOf(await send('GET /x'))))
    }
    return stolen.some((text) => isStolen(text, MARKED))
  },
  'in a version that is kept for a while': async (t, { aim, vault }) => {
    const service = await startByteService(t, (head) =>
      answerText(`<${CREDENTIAL}> ${sentField(head, 'authorization')}`),
    )
    const { send, service: name } = await aim(service.origin)
    const value = 'ghp_theNewerOne01234'
    await vault.command(`/v1/entries/${name}/rotate`, { value, overlap: 600 })
    const body = bodyOf(await send('GET /x'))
    t.equal(body, `<${STARS}> Bearer ${'*'.repeat(value.length)}`)
    return isStolen(body) || isStolen(body, value)
  },
  'through another entry of the same service': async (t, { aim, vault }) => {
    // A service that shows its last request, for instance.
    let last = ''
    const service = await startByteService(t, (head) => {
      const shown = answerText(last)
      last = sentField(head, 'authorization')
      return shown
    })
    const first = await aim(service.origin)
    const other = await aim(service.origin, { value: 'ghp_ofAnotherEntryOfTheService' })
    await first.send('GET /x')
    const bodies = [bodyOf(await other.send('GET /x'))]
    const value = 'ghp_theNewestOneOfTheFirstEntry0'
    await vault.command(`/v1/entries/${first.service}/rotate`, { value })
    await first.send('GET /x')
    bodies.push(bodyOf(await other.send('GET /x')))
    return bodies.some((body) => isStolen(body) || isStolen(body, value))
  },
  'in an answer that comes after its rotation': async (t, { aim, vault }) => {
    let answer = () => {}
    const service = await startByteService(t, (_head, socket) => {
      answer = () => socket.end(answerText(`${CREDENTIAL} ghp_theOneBeforeThat01`))
      return undefined
    })
    const { send, service: name } = await aim(service.origin, { value: 'ghp_theOneBeforeThat01' })
    const rotate = (value: string, overlap: number) =>
      vault.command(`/v1/entries/${name}/rotate`, { value, overlap })
    await rotate(CREDENTIAL, 600)
    const answered = send('GET /x')
    await eventually(() => service.received() !== '', 'the request is there')
    await rotate('ghp_theNewerOne01234', 0)
    answer()
    const body = bodyOf(await answered)
    t.notMatch(body, 'BeforeThat')
    return isStolen(body)
  },
  'in an answer to a request after its rotation': async (t, { aim, vault }) => {
    const service = await startByteService(t, () => answerText(CREDENTIAL))
    const { send, service: name } = await aim(service.origin)
    await vault.command(`/v1/entries/${name}/rotate`, { value: 'ghp_theNewerOne01234' })
    return isStolen(bodyOf(await send('GET /x')))
  },
  'in an answer whose length would tell': async (t, { aim }) => {
    const service = await startByteService(t, () => answerText(`<${CREDENTIAL}>`))
    const { body, headers } = await (await aim(service.origin)).send('GET /x')
    t.equal(body, `<${STARS}>`)
    return headers['content-length'] !== String(STARS.length + 2)
  },
})
