/** Does the stats server answer before a prober gives up? Caddy gives up after a second, the gateway after 800 ms. */
import { startRemedy, type Examination } from './examination.ts'
import { fail, pass, warn, type Finding } from './finding.ts'

const CHECK = 'stats-answers'

/** How long a prober such as Caddy waits, in milliseconds. */
const PROBER_MS = 1000

/** How long the gateway waits for the stats server (routes/health.ts), in milliseconds. */
const GATEWAY_MS = 800

export async function examineStats(examination: Examination): Promise<Finding[]> {
  const { healthUrl, healthStrict } = examination.config
  const reply = await examination.askService('the stats server', healthUrl, '/health', {
    timeoutMs: PROBER_MS,
  })
  const consequence = healthStrict
    ? 'with GATEWAY_HEALTH_STRICT a prober takes the whole workspace away'
    : '/health says 200 with "degraded", so the workspace stays up'
  if (reply.kind === 'none') {
    return [fail(CHECK, `${healthUrl.url}: ${reply.why}; ${consequence}`, startRemedy('health'))]
  }
  const seen = `${healthUrl.url} answered /health with ${reply.status} in ${reply.ms} ms`
  if (reply.status < 200 || reply.status > 299)
    return [fail(CHECK, `${seen}; ${consequence}`, "read the stats server's own log")]
  if (reply.ms > GATEWAY_MS * examination.patience) {
    return [
      warn(
        CHECK,
        `${seen}; the gateway waits ${GATEWAY_MS} ms, and then ${consequence}`,
        'find out what the stats server waits for',
      ),
    ]
  }
  return [pass(CHECK, seen)]
}
