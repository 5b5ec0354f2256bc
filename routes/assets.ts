/** Which files do the gateway's own pages load? Their scripts, below `/_gateway/assets`. */
import type { FastifyInstance } from 'fastify'
import { GatewayError } from '../src/answers/errors.ts'
import { ASSETS, SCRIPT_FILES } from '../src/answers/pages/scripts.ts'
import { ownHeaders, withBody } from '../src/answers/problem.ts'
import { refuseOtherMethods } from './other-methods.ts'

/** Anybody may load them, without a limit: the page of too many requests has one. */
const ASSET = { public: true, uncounted: true } as const

/** A file never changes under its name. Only a browser may keep it, because a shared cache in front would mix workspaces. */
const FOR_EVER = ['Cache-Control', 'private, max-age=31536000, immutable']

export default async function assets(app: FastifyInstance): Promise<void> {
  const url = `${ASSETS}/:file`
  app.get<{ Params: { file: string } }>(
    url,
    { config: ASSET },
    async function sendScript(request, reply) {
      request.exchange.outcome.stage = 'asset'
      const text = SCRIPT_FILES.get(request.params.file)
      if (text === undefined) throw new GatewayError('not-found')
      const headers = ownHeaders(request.id).slice(2)
      const answer = withBody(
        200,
        [...FOR_EVER, ...headers],
        'text/javascript; charset=utf-8',
        text,
      )
      app.writeAnswer(request, reply, answer)
      return reply
    },
  )
  refuseOtherMethods(app, url, ['GET', 'HEAD'])
}
