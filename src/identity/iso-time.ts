/** How is a time told to a person or a program? As ISO 8601 in UTC, which is also the JSON of the owner's lists. */

/**
 * A time as ISO 8601.
 * @param time milliseconds since 1970
 * @returns null when there is none: undefined, 0 for never, or Infinity for the end of what does not end
 */
export function isoTime(time: number | undefined): string | null {
  return time === undefined || time === 0 || !Number.isFinite(time)
    ? null
    : new Date(time).toISOString()
}
