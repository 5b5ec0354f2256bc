/** Which known name was probably meant? The one with the smallest edit distance. Used for misspelt settings and commands. */

/**
 * Finds the known name with the smallest edit distance to the given one.
 * @param maxChanges the largest distance, in characters, that still counts as a typing error
 * @returns undefined when no name is that near
 */
export function nearestName(
  asked: string,
  names: readonly string[],
  maxChanges: number,
): string | undefined {
  let best: string | undefined
  let bestDistance = maxChanges + 1
  for (const name of names) {
    if (Math.abs(asked.length - name.length) >= bestDistance) continue
    const distance = editDistance(asked, name)
    if (distance < bestDistance) [best, bestDistance] = [name, distance]
  }
  return best
}

function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      const substitution = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1)
      next.push(Math.min(substitution, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1))
    }
    row = next
  }
  return row[b.length] ?? 0
}
