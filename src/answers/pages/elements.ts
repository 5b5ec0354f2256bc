/** Of what are pages made? Small pieces that several pages have. */
import { html, type Html } from '../html.ts'

/** What went wrong, for the top of a page; nothing when nothing did. */
export function alert(problem: string | undefined): Html | undefined {
  return problem === undefined ? undefined : html`<p class="alert" role="alert">${problem}</p>`
}

/** Fields of a form, by name; as a list where a name stands several times. */
export type Fields = Readonly<Record<string, string>> | FieldList
type FieldList = ReadonlyArray<readonly [name: string, value: string]>

/** Fields of a form that nobody sees. */
export function hiddenFields(fields: Fields): readonly Html[] {
  const pairs = Array.isArray(fields) ? (fields as FieldList) : Object.entries(fields)
  return pairs.map(([name, value]) => html`<input type="hidden" name="${name}" value="${value}" />`)
}

/** A link that looks like a button. */
export function button(href: string, label: string): Html {
  return html`<p><a class="button" href="${href}">${label}</a></p>`
}

/** A time; the script of comfort shows it in the person's own zone. @param iso ISO 8601 in UTC */
export function timeOf(iso: string): Html {
  return html`<time datetime="${iso}">${minuteOf(iso)}</time>`
}

/** When a lock of codes ends. @param iso ISO 8601 in UTC */
export function takenFrom(iso: string): Html {
  return html`Codes of the app are taken again from ${timeOf(iso)} on.`
}

/** A time as text, to the minute. @param iso ISO 8601 in UTC */
export function minuteOf(iso: string): string {
  return `${iso.slice(0, 16).replace('T', ' ')} UTC`
}

/** A subject, kept apart from the text around it, which letters of another direction would else reorder. */
export function personOf(subject: string): Html {
  return html`<bdi>${subject}</bdi>`
}
