/** What did wrk measure? The numbers are parsed from its output. */

/** The result of a run of wrk. */
export interface WrkResult {
  readonly requests: number
  readonly seconds: number
  /** Responses with a status of 400 and above. */
  readonly refused: number
  /** Connections that failed. */
  readonly failed: number
}

/** Parses wrk's output. @throws {Error} when the text is not wrk's */
export function parseWrk(text: string): WrkResult {
  const total = /^\s*(\d+) requests in ([\d.]+)(us|ms|s|m),/m.exec(text)
  if (total === null) throw new Error(`not the output of wrk: ${text}`)
  const unit = { us: 1e-6, ms: 1e-3, s: 1, m: 60 }[total[3] ?? ''] ?? 1
  const errors = /Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)/.exec(text)
  return {
    requests: Number(total[1]),
    seconds: Number(total[2]) * unit,
    refused: Number(/Non-2xx or 3xx responses: (\d+)/.exec(text)?.[1] ?? 0),
    failed: (errors ?? []).slice(1).reduce((sum, count) => sum + Number(count), 0),
  }
}
