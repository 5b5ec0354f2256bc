/** How is the record of a request written to the log? As JSON text that is made field by field. */
import type { Decision } from './record.ts'

/**
 * The fields of a log line, as JSON text that begins with a comma. The path has no query values, and no header values are
 * logged. The text is made by hand, because a general JSON writer costs a busy gateway more than most of its decisions.
 */
export function logFields(decision: Decision): string {
  const { id, client, host, method, path, route, stage, status, code, reason, user } = decision
  const { token, websocket, terminal, bytes, bytesIn, ms, upstreamMs, trace } = decision
  return (
    `,"id":"${id}"` +
    plainField('client', client) +
    textField('host', host) +
    plainField('method', method) +
    textField('path', path) +
    plainField('route', route) +
    `,"stage":"${stage}","status":${status}` +
    plainField('code', code) +
    textField('reason', reason) +
    textField('user', user) +
    textField('token', token) +
    (websocket ? ',"websocket":true' : '') +
    plainField('terminal', terminal) +
    `,"bytes":${bytes}` +
    numberField('bytesIn', bytesIn) +
    `,"ms":${hundredths(ms)}` +
    numberField('upstreamMs', upstreamMs === undefined ? undefined : hundredths(upstreamMs)) +
    textField('trace', trace)
  )
}

// Text that needs no escapes in JSON: printable ASCII without quotes and backslashes.
const PLAIN = /^[ !#-[\]-~]*$/

/** A field as JSON text that begins with a comma; an empty string when there is no value. */
export function textField(name: keyof Decision, text: string | undefined): string {
  if (text === undefined) return ''
  return PLAIN.test(text) ? `,"${name}":"${text}"` : `,"${name}":${JSON.stringify(text)}`
}

/** A field whose text needs no escapes, because it is an address, or one of a few words: what no client chooses. */
export function plainField(name: keyof Decision, text: string | undefined): string {
  return text === undefined ? '' : `,"${name}":"${text}"`
}

function numberField(name: keyof Decision, value: number | undefined): string {
  return value === undefined ? '' : `,"${name}":${value}`
}

function hundredths(milliseconds: number): number {
  return Math.round(milliseconds * 100) / 100
}
