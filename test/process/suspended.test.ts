/** Does a session that ends while the gateway's process is stopped end everywhere as soon as the process goes on? */
import t from 'tap'
import { assertEnded, assertUnaware, join, leave, startCrowdService } from '../helpers/crowd.ts'
import { signInPage } from '../helpers/door.ts'
import { token } from '../helpers/gateway.ts'
import { serve } from '../helpers/process.ts'
import { elapse, SOON_MS } from '../helpers/waiting.ts'
import { send } from '../helpers/wire.ts'

/** How long the sessions last that end, in seconds: long enough to open their connections on a busy machine. */
const SHORT_SECONDS = 8

t.test('after SIGSTOP across its end, a session ends at once, and no other', async (t) => {
  const service = await startCrowdService(t)
  const gateway = await serve(t, {
    GATEWAY_API_URL: service.url,
    GATEWAY_JWT_LEEWAY_SECONDS: '0',
  })
  const { port } = gateway
  const endsAt = Date.now() + SHORT_SECONDS * 1000
  const short = await signInPage(port, await token({ sessionSeconds: SHORT_SECONDS }))
  const program = await token({ ttlSeconds: SHORT_SECONDS })
  const lasting = await signInPage(port, await token())
  const [ending, endingToo, other] = await Promise.all([
    join(t, port, short),
    join(t, port, [`Authorization: Bearer ${program}`]),
    join(t, port, lasting),
  ])
  await assertUnaware(t, [ending, endingToo, other], service)

  gateway.child.kill('SIGSTOP')
  await elapse(Math.max(0, endsAt + 1000 - Date.now()), 'the machine is suspended meanwhile')
  t.notOk(
    ending.sockets.some(({ socket }) => socket.destroyed),
    'nothing ends before it goes on',
  )
  const begun = performance.now()
  gateway.child.kill('SIGCONT')
  await assertEnded(t, ending, begun, SOON_MS)
  await assertEnded(t, endingToo, begun, SOON_MS)
  await assertUnaware(t, [other], service)
  t.equal((await send(port, 'GET /api/', short)).status, 401)
  leave([other])
})
