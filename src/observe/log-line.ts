/** How does the record of a request become its log line? As JSON text that is written by hand, field by field. */
import type { Decision } from './record.ts'

/**
 * The fields of a log line, as JSON text that begins with a comma: path without query values, no header values. By hand,
 * since a proxy that is busy spends more on a general JSON writer than on most of its decisions.
 */
export function logFields(decision: Decision): string {
  const { id, client, host, method, path, route, stage, status, code, reason, user } = decision
  const { websocket, bytes, bytesIn, ms, upstreamMs, trace } = decision
  return (
    `,"id":"${id}"` +
    textField('client', client) +
    textField('host', host) +
    textField('method', method) +
    textField('path', path) +
    textField('route', route) +
    `,"stage":"${stage}","status":${status}` +
    textField('code', code) +
    textField('reason', reason) +
    textField('user', user) +
    (websocket ? ',"websocket":true' : '') +
    `,"bytes":${bytes}` +
    numberField('bytesIn', bytesIn) +
    `,"ms":${hundredths(ms)}` +
    numberField('upstreamMs', upstreamMs === undefined ? undefined : hundredths(upstreamMs)) +
    textField('trace', trace)
  )
}

// Text that is its own JSON form: printable ASCII without quotes and backslashes.
const PLAIN = /^[ !#-[\]-~]*$/

/** A field as JSON text that begins with a comma; an empty string when there is no value. */
export function textField(name: keyof Decision, text: string | undefined): string {
  if (text === undefined) return ''
  return PLAIN.test(text) ? `,"${name}":"${text}"` : `,"${name}":${JSON.stringify(text)}`
}

function numberField(name: keyof Decision, value: number | undefined): string {
  return value === undefined ? '' : `,"${name}":${value}`
}

function hundredths(milliseconds: number): number {
  return Math.round(milliseconds * 100) / 100
}
