/**
 * In which forms may a service repeat a credential? Raw, as rendered in the slot, in base64, percent, JSON, HTML, hex and UTF-16: the
 * needles that the scrubber looks for.
 */
import { newestOf, type Entry, type Version } from '../policy.ts'
import { renderSlot } from '../forward/slot.ts'

/** A shorter needle would be found everywhere, so it is left out (bytes). No credential that the vault takes has one. */
const MIN_NEEDLE_BYTES = 8

/**
 * The needles of an entry: every form of every version that is kept, without duplicates, and without those that contain another
 * one, because the shorter one finds them too.
 * @param versions the versions that are kept; the newest one of the entry counts in any case
 */
export function needlesOf(entry: Entry, versions: readonly Version[]): Buffer[] {
  const values = new Map<string, Buffer>()
  for (const { value } of [...versions, newestOf(entry)])
    values.set(value.toString('latin1'), value)
  const forms = [...values.values()].flatMap(formsOf)
  // The header of the kind `basic` is a base64 text that begins before the credential. It is kept beside the shorter alignments,
  // because it covers the two characters at the ends that hold a part of the credential's bits.
  const rendered =
    entry.policy.kind === 'basic'
      ? [...values.values()].map((value) => renderSlot(entry.policy, value).replace(/^Basic /, ''))
      : []
  return [...withoutLonger(forms), ...rendered.map((text) => Buffer.from(text, 'latin1'))]
}

/** Every form of one credential. Some are equal when it has only letters and digits. */
export function formsOf(value: Buffer): Buffer[] {
  const text = value.toString('utf8')
  const upper = (form: string) => form.replace(/%[0-9a-f]{2}/g, (escape) => escape.toUpperCase())
  const lower = (form: string) => form.replace(/%[0-9A-F]{2}/g, (escape) => escape.toLowerCase())
  const hex = value.toString('hex')
  const json = JSON.stringify(text).slice(1, -1)
  const units = Array.from({ length: text.length }, (_, i) => hexOf(text.charCodeAt(i)))
  const texts = [
    ...base64Forms(value),
    ...percentForms(value, text).flatMap((form) => [upper(form), lower(form)]),
    ...htmlForms(text),
    hex,
    hex.toUpperCase(),
    json,
    json.replaceAll('/', '\\/'),
    // Go and some others also escape what is special in HTML.
    json.replace(/[<>&]/g, (character) => `\\u${hexOf(character.charCodeAt(0))}`),
    units.map((unit) => `\\u${unit}`).join(''),
    units.map((unit) => `\\u${unit.toUpperCase()}`).join(''),
  ]
  const utf16 = Buffer.from(text, 'utf16le')
  // Without the zero byte at one end, so that both orders of the bytes contain it.
  return [value, ...texts.map((form) => Buffer.from(form, 'utf8')), utf16.subarray(0, -1)]
}

function hexOf(unit: number): string {
  return unit.toString(16).padStart(4, '0')
}

/** Percent-encoded as by encodeURIComponent, as in a form, with every special character escaped, and with every byte escaped. */
function percentForms(value: Buffer, text: string): string[] {
  const each = [...value].map((byte) => `%${byte.toString(16).padStart(2, '0')}`).join('')
  if (!text.isWellFormed() || !Buffer.from(text).equals(value)) return [each]
  const component = encodeURIComponent(text)
  const strict = component.replace(
    /[!'()*~]/g,
    (character) => `%${character.charCodeAt(0).toString(16)}`,
  )
  return [component, component.replaceAll('%20', '+'), strict, each]
}

/** As pages show it. Their writers differ in whether `>` is escaped, and in how quotes are. Plain letters stay as they are. */
function htmlForms(text: string): string[] {
  if (!/[&<>"']/.test(text)) return []
  const most = text.replaceAll('&', '&amp;').replaceAll('<', '&lt;')
  return [most, most.replaceAll('>', '&gt;')].flatMap((escaped) =>
    ['"', '&quot;', '&#34;'].flatMap((quote) =>
      ["'", '&#39;', '&#039;', '&#x27;', '&apos;'].map((tick) =>
        escaped.replaceAll('"', quote).replaceAll("'", tick),
      ),
    ),
  )
}

/**
 * The base64 texts that contain the credential whatever stands around it: for each of the three alignments the characters that
 * only the credential decides, in both alphabets.
 */
function base64Forms(value: Buffer): string[] {
  return [0, 1, 2].flatMap((before) => {
    const text = Buffer.concat([Buffer.alloc(before), value]).toString('base64url')
    const first = Math.ceil((before * 8) / 6)
    const end = Math.floor(((before + value.length) * 8) / 6)
    const url = text.slice(first, end)
    return [url, url.replaceAll('-', '+').replaceAll('_', '/')]
  })
}

function withoutLonger(forms: readonly Buffer[]): Buffer[] {
  const kept: Buffer[] = []
  for (const form of forms.toSorted((a, b) => a.length - b.length)) {
    if (form.length >= MIN_NEEDLE_BYTES && !kept.some((shorter) => form.includes(shorter)))
      kept.push(form)
  }
  return kept
}
