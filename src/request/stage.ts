/** What is a stage of the request path? One decision with a name: a hook that passes a request on or refuses it. */
import type {
  FastifyInstance,
  FastifyReply,
  FastifyRequest,
  HookHandlerDoneFunction,
} from 'fastify'
import fp from 'fastify-plugin'
import type { GatewayError } from '../answers/errors.ts'
import { STAGES, type Stage } from './outcome.ts'

/** The verdict of a stage that has taken the reply (`reply.hijack()`) and answers the request itself, now or later. */
export const ANSWERED = Symbol('answered')

/** `undefined` passes the request on to the next stage, an error refuses it. */
export type Verdict = GatewayError | typeof ANSWERED | undefined

/** A decision that is made at once and by the request alone. @returns the refusal */
export type Check = (request: FastifyRequest) => GatewayError | undefined

/**
 * The decision of a stage. Its function name is in stack traces. A promise makes this one request wait; a stage that returns none
 * costs no turn of the event loop. A stage that answers the request returns {@link ANSWERED}.
 */
export type Decide = (request: FastifyRequest, reply: FastifyReply) => Verdict | Promise<Verdict>

/** A stage in its place on the request path. */
interface PlacedStage {
  readonly name: Stage
  readonly decide: Decide
}

declare module 'fastify' {
  interface FastifyInstance {
    /** The request path: the stages that every request passes, in order. */
    stages: PlacedStage[]
  }
}

/**
 * Makes a stage that every request passes, as a plugin with the name of the stage. Fastify refuses to start when the stage
 * before it is missing. All stages share one hook, because a hook costs more than most decisions.
 * @param build makes the decision from the plugin's options, once
 * @param after the plugins that must be registered before; the previous stage when not given
 */
export function stage<Options extends object>(
  name: Stage,
  build: (options: Options, app: FastifyInstance) => Decide,
  after: readonly string[] = STAGES.slice(0, STAGES.indexOf(name)).slice(-1),
) {
  return fp(
    async (app: FastifyInstance, options: Options) => {
      if (!app.hasDecorator('stages')) {
        const stages: PlacedStage[] = []
        app.decorate('stages', stages)
        app.addHook('onRequest', function passStages(request, reply, done) {
          pass(stages, 0, request, reply, done)
        })
      }
      app.stages.push({ name, decide: build(options, app) })
    },
    { name, fastify: '5.x', dependencies: [...after] },
  )
}

/** A hook as Fastify calls it before the handler of a route. */
export type Hook = (
  request: FastifyRequest,
  reply: FastifyReply,
  done: HookHandlerDoneFunction,
) => void

/** The hook of a stage that only some routes have: it notes the name of the stage, asks for the decision, and ends. */
export function stageHook(name: Stage, decide: Decide): Hook {
  const stages = [{ name, decide }]
  const hook: Hook = (request, reply, done) => pass(stages, 0, request, reply, done)
  return Object.defineProperty(hook, 'name', { value: decide.name })
}

/** Asks the stages from a place on, one after the other, until one of them refuses the request or answers it. */
function pass(
  stages: readonly PlacedStage[],
  from: number,
  request: FastifyRequest,
  reply: FastifyReply,
  done: HookHandlerDoneFunction,
): void {
  const { outcome } = request.exchange
  for (let place = from; place < stages.length; place++) {
    const { name, decide } = stages[place] as PlacedStage
    outcome.stage = name
    const verdict = verdictOf(decide, request, reply)
    if (verdict instanceof Promise) {
      void verdict.catch(faultOf).then((settled) => {
        if (settled !== undefined) return end(settled, done)
        // A reply that was sent meanwhile needs no further decision.
        return reply.sent ? undefined : pass(stages, place + 1, request, reply, done)
      })
      return
    }
    if (verdict !== undefined) {
      end(verdict, done)
      return
    }
  }
  done()
}

function verdictOf(
  decide: Decide,
  request: FastifyRequest,
  reply: FastifyReply,
): ReturnType<Decide> | Error {
  try {
    return decide(request, reply)
  } catch (cause) {
    return faultOf(cause)
  }
}

function end(verdict: Verdict | Error, done: HookHandlerDoneFunction): void {
  if (verdict !== ANSWERED) done(faultOf(verdict))
}

/**
 * The error that refuses a request: the given one, or a new one for a decision that failed or returned no verdict. Never undefined nor
 * null, because Fastify passes a request on when a hook ends without an error.
 */
function faultOf(cause: unknown): Error {
  return cause instanceof Error ? cause : new Error('a decision failed', { cause })
}
