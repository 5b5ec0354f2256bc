/**
 * Which trace does a request belong to? The one in `traceparent` (W3C Trace Context). The gateway reads the header for its log
 * and forwards it unchanged.
 */

// https://www.w3.org/TR/trace-context/#traceparent-header: version, trace-id, parent-id, flags; later versions may add parts.
const TRACEPARENT =
  /^(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-[!-~]*)?$/

/** The trace-id of a valid `traceparent`, for the log; undefined for anything else, also when the header was sent twice. */
export function traceIdOf(traceparent: string | readonly string[] | undefined): string | undefined {
  if (typeof traceparent !== 'string') return undefined
  const [, version, traceId, more] = TRACEPARENT.exec(traceparent) ?? []
  return version === '00' && more !== undefined ? undefined : traceId
}
