/** What is the value of a metric? It is read from the text format of Prometheus. */

/** Sums all series of a metric. */
export function sumOf(exposition: string, name: string): number {
  const samples = exposition.matchAll(new RegExp(`^${name}(?:\\{[^}]*\\})? (\\S+)$`, 'gm'))
  return [...samples].reduce((sum, [, value]) => sum + Number(value), 0)
}
