/** How does a test read metrics? As Prometheus would, and strictly. */

/** Reads an exposition, by name with labels, and complains about whatever is not in its grammar. */
export function parseExposition(text: string): Map<string, number> {
  const values = new Map<string, number>()
  const declared = new Set<string>()
  for (const line of text.split('\n').slice(0, -1)) {
    const comment = /^# (HELP|TYPE) ([a-z_]+) (.+)$/.exec(line)
    if (comment !== null) {
      if (comment[1] === 'TYPE') declared.add(comment[2] ?? '')
      continue
    }
    const sample =
      /^([a-z_]+)(\{[a-z]+="[^"\\\n]*"(?:,[a-z]+="[^"\\\n]*")*\})? (-?[0-9.]+(?:e[+-]?[0-9]+)?)$/.exec(
        line,
      )
    if (sample === null) throw new Error(`no sample: ${line}`)
    const [, name = '', labels = '', value = ''] = sample
    if (!declared.has(name.replace(/_(?:bucket|sum|count)$/, '')) && !declared.has(name))
      throw new Error(`not declared: ${line}`)
    if (values.has(name + labels)) throw new Error(`twice: ${line}`)
    values.set(name + labels, Number(value))
  }
  if (!text.endsWith('\n')) throw new Error('no end')
  return values
}
