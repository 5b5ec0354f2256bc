/** Reads one metric out of the text that Prometheus reads. */

/** The sum of all series of a metric. */
export function sumOf(exposition: string, name: string): number {
  const samples = exposition.matchAll(new RegExp(`^${name}(?:\\{[^}]*\\})? (\\S+)$`, 'gm'))
  return [...samples].reduce((sum, [, value]) => sum + Number(value), 0)
}
