/** Does each error response tell the client what was wrong and what to do? */
import t from 'tap'
import * as details from '../../src/answers/details.ts'
import type { ErrorCode } from '../../src/answers/errors.ts'
import { ROUTE_WORDS, type RouteName } from '../../src/rules/site-map.ts'

const { DETAILS, OWNER_DETAILS, TARGET_DETAILS, serviceDetail, waitDetail } = details

t.test('every text is a sentence that names no host, port, path or library', async (t) => {
  const texts = [
    ...Object.values(DETAILS),
    ...Object.values(TARGET_DETAILS),
    ...Object.values(OWNER_DETAILS),
    ...Object.values(details).filter((one) => typeof one === 'string'),
    ...Object.values(ROUTE_WORDS).flatMap((words) =>
      (Object.keys(DETAILS) as ErrorCode[]).flatMap((code) => serviceDetail(code, words, 10) ?? []),
    ),
    waitDetail(1),
    waitDetail(60),
    details.membersDetail(['name', 'rate']),
    details.memberDetail('rate', 'a whole number'),
  ]
  t.ok(texts.length > 50)
  for (const text of texts) {
    t.match(text, /^[A-Z][\x20-\x7e]+\.$/)
    t.notMatch(text, /localhost|127\.|:\d{2,}|undici|fastify|node|ttyd|next\.js|\/[a-z]|"/i)
    t.ok(text.length < 200, 'short enough to be remembered as JSON (src/limits/memo.ts)')
  }
})

t.test('a service that does not respond is named, with the time of a retry', async (t) => {
  const rows: Array<[RouteName, string]> = [
    ['dashboard', 'The dashboard does'],
    ['terminal', 'The terminal does'],
    ['api', 'The agent (OpenClaw) does'],
    ['chat', 'The agent (OpenClaw) does'],
    ['health', 'The stats server does'],
  ]
  for (const [route, words] of rows)
    t.equal(
      serviceDetail('upstream-unreachable', ROUTE_WORDS[route], 10),
      `${words} not answer. It may still be starting. Try again in 10 seconds.`,
    )
  t.equal(
    serviceDetail('upstream-timeout', ROUTE_WORDS.api, 30),
    'The agent (OpenClaw) took too long to answer. Try again in 30 seconds.',
  )
  t.equal(
    serviceDetail('upstream-busy', ROUTE_WORDS.terminal, 1),
    'The terminal has too many requests under way. Try again in 1 second.',
  )
  t.equal(serviceDetail('rate-limited', ROUTE_WORDS.terminal, 1), undefined)
})

t.test('a reached rate limit states the seconds to wait', async (t) => {
  t.equal(waitDetail(1), 'The limit of requests is reached. Wait 1 second, then try again.')
  t.equal(waitDetail(37), 'The limit of requests is reached. Wait 37 seconds, then try again.')
})
