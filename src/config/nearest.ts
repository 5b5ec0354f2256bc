/** Which name was probably meant? For typing errors in settings and commands. */

/**
 * The name that takes the fewest changes of a character to become the asked one.
 * @param maxChanges more than so many, and it was something else that was meant
 * @returns undefined when none is that near
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
