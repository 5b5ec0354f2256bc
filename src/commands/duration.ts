/** How is a length of time written on a command line? As a number with a unit: 90s, 15m, 1h, 7d. */

const SECONDS: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600, d: 86_400 }

/** The seconds of a duration; undefined when the text is none. */
export function parseDuration(text: string): number | undefined {
  const match = /^([1-9][0-9]{0,7})([smhd])$/.exec(text)
  return match === null ? undefined : Number(match[1]) * (SECONDS[match[2] ?? ''] ?? 1)
}
