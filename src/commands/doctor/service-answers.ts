/** Does a service answer? The question for every service that has no questions of its own. */
import type { Config } from '../../config/load.ts'
import { doctorWords, SERVICES, type ProbedService } from '../../rules/services.ts'
import { pathOf, siteMapOf, strippedPrefix } from '../../rules/site-map.ts'
import { forwardingModeOf } from '../../services/service.ts'
import { startRemedy, type Examination } from './examination.ts'
import { fail, pass, warn, type Finding } from './finding.ts'

/** Asks a service for its front page, with the fields that the gateway would send. */
export async function examineAnswers(
  name: ProbedService,
  examination: Examination,
): Promise<Finding[]> {
  const { config } = examination
  const row = SERVICES[name]
  const check = `${doctorWords(name).name}-answers`
  const service = row.words.replace(/^The /, 'the ')
  const address = config[row.address.key]
  const { path, page } = frontPage(name, config)
  const mode = forwardingModeOf(row, config)
  const reply = await examination.askService(service, address, page, { mode })
  if (reply.kind === 'none') {
    return [
      fail(
        check,
        `${address.url}: ${reply.why}; people get 502 or 504 on ${path}`,
        startRemedy(name),
      ),
    ]
  }
  const seen = `${address.url} answered ${page} with ${reply.status} in ${reply.ms} ms`
  if (reply.status >= 500)
    return [fail(check, seen, `read ${service}'s own log: the fault is in it, not on the way`)]
  if (reply.status >= 400)
    return [warn(check, seen, `see whether this is ${service}, and what it has at ${page}`)]
  return [pass(check, seen)]
}

/** The path of a service as clients see it, and the address of its front page as the service sees it. */
function frontPage(name: ProbedService, config: Config): { path: string; page: string } {
  const siteMap = siteMapOf(config)
  const path = pathOf(name, siteMap) ?? '/'
  const kept = path.slice(strippedPrefix(name, siteMap).length)
  return { path, page: kept.endsWith('/') ? kept : `${kept}/` }
}
