/** How are header fields read? The few primitives of RFC 9110 section 5 that several decisions share. */

/** A raw header list as Node gives it: name, value, name, value, in the order and spelling of the wire. */
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

/** Whether a text can be a field's name: a token (RFC 9110 section 5.1), so nothing folded and no white space before the colon. */
export function isFieldName(text: string): boolean {
  return /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/.test(text)
}

/**
 * Whether a text, one character a byte, can be a field's value (RFC 9110 section 5.5): no control character but HTAB. With a
 * bare CR or LF, a field would be two for somebody else.
 */
export function isFieldValue(text: string): boolean {
  return !/[^\t\x20-\x7e\x80-\xff]/.test(text)
}

/** Removes optional white space (SP and HTAB, nothing else) from both ends. */
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

/** The elements of a comma-separated list, lower case, without empty ones. */
export function listElements(value: string): string[] {
  return value
    .split(',')
    .map((element) => trimOws(element).toLowerCase())
    .filter((element) => element !== '')
}
