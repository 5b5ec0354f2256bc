/** What is the value of a metric? It is read from the text format of Prometheus. */

/** Sums the series of a metric. @param labels only those with exactly these labels, such as `kind="browser"` */
export function sumOf(exposition: string, name: string, labels = '[^}]*'): number {
  const samples = exposition.matchAll(new RegExp(`^${name}(?:\\{${labels}\\})? (\\S+)$`, 'gm'))
  return [...samples].reduce((sum, [, value]) => sum + Number(value), 0)
}
