/** Does the dashboard (Next.js) answer? */
import type { Examination } from './examination.ts'
import { fail, pass, warn, type Finding } from './finding.ts'

const CHECK = 'dashboard-answers'

export async function examineDashboard(examination: Examination): Promise<Finding[]> {
  const { dashboardUrl } = examination.config
  const reply = await examination.askService('the dashboard', dashboardUrl, '/')
  if (reply.kind === 'none') {
    return [
      fail(
        CHECK,
        `${dashboardUrl.url}: ${reply.why}; people get 502 or 504 on /`,
        'start the dashboard (next start -H 127.0.0.1 -p PORT), or set GATEWAY_DASHBOARD_URL to where it listens',
      ),
    ]
  }
  const seen = `${dashboardUrl.url} answered / with ${reply.status} in ${reply.ms} ms`
  if (reply.status >= 500)
    return [fail(CHECK, seen, "read the dashboard's own log: the fault is in it, not on the way")]
  if (reply.status >= 400)
    return [warn(CHECK, seen, 'see whether this is the dashboard, and what it has at /')]
  return [pass(CHECK, seen)]
}
