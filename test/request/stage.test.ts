/** Does a stage note its name, end its hook once, and keep its place among the stages? */
import Fastify, { type FastifyReply, type FastifyRequest } from 'fastify'
import t, { type Test } from 'tap'
import { GatewayError } from '../../src/answers/errors.ts'
import { Exchange } from '../../src/request/exchange.ts'
import { STAGES } from '../../src/request/outcome.ts'
import { ANSWERED, stage, stageHook, type Decide } from '../../src/request/stage.ts'

/** Starts an application with one stage and one route, and keeps the requests that reach the route. */
const startStage = (t: Test, decide: Decide) => startStages(t, [decide])

/** The same with a second stage behind the first. */
async function startStages(t: Test, decisions: readonly Decide[]) {
  const app = Fastify()
  t.teardown(() => app.close())
  const handled: FastifyRequest[] = []
  app.addHook('onRequest', async (request) => {
    request.exchange = new Exchange()
  })
  for (const [place, decide] of decisions.entries())
    await app.register(
      stage(place === 0 ? 'host' : 'credential', () => decide, []),
      {},
    )
  app.get('/', (request, reply) => {
    handled.push(request)
    void reply.send('passed')
  })
  return { app, handled }
}

t.test('a decision passes the request on or refuses it, at once or later', async (t) => {
  const refusal = new GatewayError('host-not-served')
  const rows: Array<[what: string, decide: Decide, status: number]> = [
    ['undefined', () => undefined, 200],
    ['an error', () => refusal, 421],
    ['a promise of undefined', async () => undefined, 200],
    ['a promise of an error', async () => refusal, 421],
    ['a promise that is rejected with an error', () => Promise.reject(refusal), 421],
    [
      'an error that is thrown',
      () => {
        throw refusal
      },
      421,
    ],
  ]
  for (const [what, decide, status] of rows) {
    const { app, handled } = await startStage(t, decide)
    t.equal((await app.inject('/')).statusCode, status, what)
    t.equal(handled.length, status === 200 ? 1 : 0, `${what}: requests that reached the route`)
  }
})

t.test('a decision that fails without an error refuses the request too', async (t) => {
  for (const nothing of [undefined, null, false, 0, '']) {
    const fail = () => {
      // oxlint-disable-next-line only-throw-error -- what a library may throw
      throw nothing
    }
    for (const decide of [fail, async () => fail()]) {
      const { app, handled } = await startStage(t, decide)
      t.equal((await app.inject('/')).statusCode, 500, String(nothing))
      t.equal(handled.length, 0)
    }
  }
})

t.test('what is no decision refuses the request, and no stage behind it is asked', async (t) => {
  for (const nothing of [null, false, 0, '', { code: 'not-found' }])
    for (const decide of [() => nothing, async () => nothing] as unknown as Decide[]) {
      const asked: string[] = []
      const { app, handled } = await startStages(t, [decide, () => void asked.push('behind')])
      t.equal((await app.inject('/')).statusCode, 500, JSON.stringify(nothing))
      t.same(asked, [])
      t.equal(handled.length, 0)
    }
})

t.test('a stage that answers and does not say so keeps the request from its handler', async (t) => {
  const answer: Decide = (_request, reply) => void reply.send('mine')
  for (const decide of [answer, async (...both) => answer(...both)] satisfies Decide[]) {
    const { app, handled } = await startStages(t, [decide, () => undefined])
    t.equal((await app.inject('/')).body, 'mine')
    t.equal(handled.length, 0)
  }
})

t.test('a stage that answers the request itself ends it, at once or later', async (t) => {
  const answer: Decide = (_request, reply) => {
    reply.hijack()
    reply.raw.end('mine')
    return ANSWERED
  }
  const answerLater: Decide = async (request, reply) => {
    await new Promise(setImmediate)
    return answer(request, reply)
  }
  for (const decide of [answer, answerLater]) {
    const { app, handled } = await startStage(t, decide)
    t.equal((await app.inject('/')).body, 'mine')
    t.equal(handled.length, 0)
    await neverCallsBack(t, decide)
  }
})

/** Asserts that the hook of a stage that answers itself never calls Fastify back. */
async function neverCallsBack(t: Test, decide: Decide): Promise<void> {
  const request = { exchange: new Exchange() } as FastifyRequest
  const reply = { hijack() {}, raw: { end() {} } } as unknown as FastifyReply
  stageHook('host', decide)(request, reply, () => t.fail('the hook called back'))
  await new Promise(setImmediate)
  await new Promise(setImmediate)
}

t.test('the outcome names the stage before the decision is made', async (t) => {
  const seen: string[] = []
  const { app, handled } = await startStage(t, ({ exchange }) => {
    seen.push(exchange.outcome.stage)
    return undefined
  })
  await app.inject('/')
  t.same(seen, ['host'])
  t.equal(handled[0]?.exchange.outcome.stage, 'host')
})

t.test('a hook has the name of its decision', async (t) => {
  const { name } = stageHook('host', function checkHost() {
    return undefined
  })
  t.equal(name, 'checkHost')
})

t.test('an application does not start when the stage before is missing', async (t) => {
  for (const name of STAGES.slice(1, STAGES.indexOf('upstream'))) {
    const app = Fastify()
    t.teardown(() => app.close())
    const previous = STAGES[STAGES.indexOf(name) - 1]
    await t.rejects(
      Promise.resolve(
        app.register(
          stage(name, () => () => undefined),
          {},
        ),
      ),
      { message: `The dependency '${previous}' of plugin '${name}' is not registered` },
    )
  }
})
