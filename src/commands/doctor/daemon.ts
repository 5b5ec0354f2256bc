/** Does the daemon of Hubcode answer, where GATEWAY_DAEMON_URL names one? Its allow-lists must take what the gateway sends. */
import { LOCAL_HOST } from '../../http/to-service.ts'
import { SERVICES, type DoctorWords } from '../../rules/services.ts'
import type { Examination } from './examination.ts'
import { fail, pass, warn, type Finding } from './finding.ts'

/** What doctor says of the daemon. Not in its row of src/rules/services.ts, because it is looked at only when its setting is there. */
export const DAEMON_WORDS: DoctorWords = {
  name: 'daemon',
  start: "start Hubcode's daemon",
  bind: 'have the daemon listen on 127.0.0.1',
}

/** Asks for the daemon's front page, with the `Host` that the gateway sends. Nothing is said without a daemon. */
export async function examineDaemon(examination: Examination): Promise<Finding[]> {
  const { daemonUrl } = examination.config
  if (daemonUrl === undefined) return []
  const check = `${DAEMON_WORDS.name}-answers`
  const reply = await examination.askService('the daemon', daemonUrl, '/', {
    mode: 'none',
    host: LOCAL_HOST,
  })
  if (reply.kind === 'none')
    return [
      fail(
        check,
        `${daemonUrl.url}: ${reply.why}; people get 502 or 504 on ${SERVICES.code.path}`,
        `${DAEMON_WORDS.start}, or set GATEWAY_DAEMON_URL to where it listens`,
      ),
    ]
  const seen = `${daemonUrl.url} answered / with ${reply.status} in ${reply.ms} ms`
  if (reply.status >= 500)
    return [fail(check, seen, "read the daemon's own log: the fault is in it, not on the way")]
  if (reply.status === 403 || reply.status === 421)
    return [
      warn(check, seen, `see whether daemon.allowedHosts in its config.json has ${LOCAL_HOST}`),
    ]
  return [pass(check, seen)] // any other answer: a daemon need not have a front page
}
