/** How are header fields read? With the few primitives of RFC 9110 section 5 that are here, shared by several decisions. */

/** A raw header list as Node provides it: name, value, name, value, in the order and the case in which they were sent. */
export type RawHeaders = readonly string[]

/** The values of every line of a field, in order. @param name in lower case */
export function fieldLines(raw: RawHeaders, name: string): string[] {
  const values: string[] = []
  for (let i = 0; i < raw.length; i += 2) {
    const candidate = raw[i] ?? ''
    if (candidate.length === name.length && candidate.toLowerCase() === name)
      values.push(raw[i + 1] ?? '')
  }
  return values
}

/** The value of a field that stands on exactly one line; undefined when there are none or several. @param name in lower case */
export function singleLine(raw: RawHeaders, name: string): string | undefined {
  const lines = fieldLines(raw, name)
  return lines.length === 1 ? lines[0] : undefined
}

/**
 * Whether a text is a valid field name: a token (RFC 9110 section 5.1). This excludes folded lines and white space before
 * the colon.
 */
export function isFieldName(text: string): boolean {
  return /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/.test(text)
}

/**
 * Whether a text, with one character per byte, is a valid field value (RFC 9110 section 5.5): no control character except
 * HTAB. Another parser could read a bare CR or LF as the end of the field, and so see two fields.
 */
export function isFieldValue(text: string): boolean {
  return !/[^\t\x20-\x7e\x80-\xff]/.test(text)
}

/** Removes optional white space (only SP and HTAB) from both ends. */
export function trimOws(text: string): string {
  let start = 0
  let end = text.length
  while (start < end && isOws(text.charCodeAt(start))) start++
  while (end > start && isOws(text.charCodeAt(end - 1))) end--
  return text.slice(start, end)
}

function isOws(code: number): boolean {
  return code === 0x20 || code === 0x09
}

/** The non-empty elements of a comma-separated list, in lower case. */
export function listElements(value: string): string[] {
  return value
    .split(',')
    .map((element) => trimOws(element).toLowerCase())
    .filter((element) => element !== '')
}
