/** How is HTML built so that no text can break it? With the template tag `html`, which escapes every text that is put in. */

/** HTML that may be sent as it is. Only the functions here make it, so that no other text is taken for it. */
export class Html {
  readonly text: string

  constructor(text: string) {
    this.text = text
  }
}

/** What may stand in a template: a text or number, which is escaped; HTML; several of them; undefined for nothing. */
type Part = string | number | Html | undefined | readonly (Html | undefined)[]

/** Builds HTML. A part may stand between tags, or in an attribute value in double quotes, and nowhere else. */
export function html(template: TemplateStringsArray, ...parts: readonly Part[]): Html {
  const texts = textsOf(template)
  let all = texts[0] ?? ''
  for (const [i, part] of parts.entries()) all += textOf(part) + (texts[i + 1] ?? '')
  return new Html(all)
}

/** The texts of each template, without the line breaks and slashes that only the formatter wants. */
const compact = new WeakMap<TemplateStringsArray, readonly string[]>()

function textsOf(template: TemplateStringsArray): readonly string[] {
  let texts = compact.get(template)
  if (texts === undefined) {
    texts = template.map((text) =>
      text.replaceAll(/\s*\n\s*(>?)/g, (_, end) => end || ' ').replaceAll(' />', '>'),
    )
    compact.set(template, texts)
  }
  return texts
}

function textOf(part: Part): string {
  if (part === undefined) return ''
  if (part instanceof Html) return part.text
  if (typeof part === 'object') return part.map(textOf).join('')
  return typeof part === 'number' ? String(part) : escapeHtml(part)
}

/** Takes a text for HTML. Only for a fixed text of the program's own. */
export function trusted(text: string): Html {
  return new Html(text)
}

/** Escapes text for HTML content and quoted attributes. */
export function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (char) => `&#${char.charCodeAt(0)};`)
}
