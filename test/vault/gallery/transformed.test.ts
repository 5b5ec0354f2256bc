/** Attack: the service repeats the credential in a form that is not among those that the scrubber looks for, and the agent knows which. */
import { createHash } from 'node:crypto'
import { gunzipSync, gzipSync } from 'node:zlib'
import type { Test } from 'tap'
import {
  base32,
  charactersOf,
  fromBase32,
  fromQuotedPrintable,
  unescapedHtml,
} from '../../helpers/decoded.ts'
import { CREDENTIAL } from '../../helpers/vault-entry.ts'
import { bodyOf, isStolen, runAgainstVault, type VaultPlace } from './attack.ts'
import { answerText, sentField, startByteService } from '../../helpers/vault-service.ts'

const base64 = (bytes: string | Buffer) => Buffer.from(bytes).toString('base64')
const fromBase64 = (text: string) => Buffer.from(text, 'base64').toString('latin1')
const escaped = (text: string) =>
  [...Buffer.from(text)].map((byte) => `%${byte.toString(16)}`).join('')

/** The service writes the credential so, and the agent reads it so. */
const transformed =
  (
    write: (credential: string) => string | Buffer,
    read: (body: string) => string,
    credential = CREDENTIAL,
  ) =>
  async (t: Test, { aim }: VaultPlace) => {
    const service = await startByteService(t, (head) =>
      answerText(write(sentField(head, 'authorization').slice('Bearer '.length))),
    )
    const { send } = await aim(service.origin, { value: credential })
    return isStolen(read(bodyOf(await send('GET /x'))), credential)
  }

const bytesOf = (body: string) => Buffer.from(body, 'latin1')

const scrambled = (bytes: Buffer) => Buffer.from(bytes.map((byte) => byte ^ 0x55))

const reversed = (text: string) => charactersOf(text).toReversed().join('')

await runAgainstVault(import.meta.url, {
  reversed: transformed(reversed, reversed),
  'in base64 with line breaks': transformed(
    (credential) => base64(credential).replaceAll(/.{8}/g, '$&\r\n'),
    fromBase64,
  ),
  'with a space between its characters': transformed(
    (credential) => charactersOf(credential).join(' '),
    (body) => body.replaceAll(' ', ''),
  ),
  'in capitals': transformed(
    (credential) => credential.toUpperCase(),
    (body) => body.toLowerCase(),
    '0c5be1f2a7d94836e0b1c2d3f4a59687', // which says the same in capitals
  ),
  'percent-encoded twice': transformed(
    (credential) => escaped(escaped(credential)),
    (body) => decodeURIComponent(decodeURIComponent(body)),
  ),
  'in base64 of base64': transformed(
    (credential) => base64(base64(credential)),
    (body) => fromBase64(fromBase64(body)),
  ),
  'in JSON that escapes some letters': transformed(
    (credential) =>
      `"${credential.replaceAll(/[a-m]/g, (letter) => `\\u00${escaped(letter).slice(1)}`)}"`,
    (body) => String(JSON.parse(body)),
  ),
  'percent-encoded here and there': transformed(
    (credential) => credential.replaceAll(/[a-m]/g, escaped),
    decodeURIComponent,
  ),
  'in numeric character references of HTML': transformed(
    (credential) => credential.replaceAll(/./g, (letter) => `&#x${escaped(letter).slice(1)};`),
    unescapedHtml,
  ),
  'in quoted-printable': transformed(
    (credential) => escaped(credential).toUpperCase().replaceAll('%', '='),
    fromQuotedPrintable,
  ),
  'in base32': transformed((credential) => base32(Buffer.from(credential)), fromBase32),
  'in UTF-32': transformed(
    (credential) =>
      Buffer.concat(
        charactersOf(credential).map((letter) => Buffer.from([0, 0, 0, letter.charCodeAt(0)])),
      ),
    (body) => body.replaceAll('\0', ''),
  ),
  encrypted: transformed(
    (credential) => scrambled(Buffer.from(credential)),
    (body) => scrambled(bytesOf(body)).toString('latin1'),
  ),
  'in an archive': transformed(gzipSync, (body) => gunzipSync(bytesOf(body)).toString()),
  'in an archive in a part of multipart': transformed(
    (credential) =>
      Buffer.concat([Buffer.from('--b\r\n\r\n'), gzipSync(credential), Buffer.from('\r\n--b--')]),
    (body) => gunzipSync(bytesOf(body).subarray(7, -7)).toString(),
  ),
  hashed: async (t, { aim }) => {
    const hash = (text: string) => createHash('sha256').update(text).digest('hex')
    const service = await startByteService(t, (head) =>
      answerText(hash(sentField(head, 'authorization').slice('Bearer '.length))),
    )
    const { send } = await aim(service.origin)
    return bodyOf(await send('GET /x')) === hash(CREDENTIAL)
  },
  'the ends of its base64': async (t, { aim }) => {
    const text = base64(`:${CREDENTIAL}!`)
    const service = await startByteService(t, () => answerText(text))
    const body = bodyOf(await (await aim(service.origin)).send('GET /x'))
    t.notOk(isStolen(fromBase64(body)))
    // The second character has four bits of the first letter.
    return body[1] !== '*' && body[1] === text[1]
  },
  'its first characters': transformed(
    (credential) => `${credential.slice(0, -1)}...`,
    (body) => body,
  ),
})
