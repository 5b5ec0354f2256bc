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
 * The decision of a stage. Its function name is the name of the hook in `printRoutes` and in stack traces. A promise makes
 * this one request wait; a stage that returns none costs no turn of the event loop.
 */
export type Decide = (request: FastifyRequest, reply: FastifyReply) => Verdict | Promise<Verdict>

/**
 * Makes a stage that every request passes, as a plugin with the name of the stage. Fastify refuses to start when the stage
 * before it is missing.
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
      app.addHook('onRequest', stageHook(name, build(options, app)))
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

/** The hook of a stage: it notes the name of the stage, asks for the decision, and ends. */
export function stageHook(name: Stage, decide: Decide): Hook {
  const hook: Hook = (request, reply, done) => {
    request.exchange.outcome.stage = name
    let verdict: ReturnType<Decide> | Error
    try {
      verdict = decide(request, reply)
    } catch (cause) {
      verdict = faultOf(cause)
    }
    if (verdict instanceof Promise)
      void verdict.catch(faultOf).then((settled) => end(settled, done))
    else end(verdict, done)
  }
  return Object.defineProperty(hook, 'name', { value: decide.name })
}

function end(verdict: Verdict | Error, done: HookHandlerDoneFunction): void {
  if (verdict !== ANSWERED) done(verdict)
}

/** The error of a refusal by a failed decision. Never undefined, because a hook without an error passes the request on. */
function faultOf(cause: unknown): Error {
  return cause instanceof Error ? cause : new Error('a decision failed', { cause })
}
