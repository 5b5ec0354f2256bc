/** Which trace does a request belong to? W3C Trace Context: the fields pass to the services unchanged; we only read one. */

// https://www.w3.org/TR/trace-context/#traceparent-header: version, trace-id, parent-id, flags; a later version may have more.
const TRACEPARENT =
  /^(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-[!-~]*)?$/

/** The trace-id of a valid `traceparent`, for the log; undefined for anything else, two of them included. */
export function traceIdOf(traceparent: string | readonly string[] | undefined): string | undefined {
  if (typeof traceparent !== 'string') return undefined
  const [, version, traceId, more] = TRACEPARENT.exec(traceparent) ?? []
  return version === '00' && more !== undefined ? undefined : traceId
}
