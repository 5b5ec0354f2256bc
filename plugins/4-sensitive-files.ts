/** Does the request name a file that must never leave the workspace? Refused for everyone, before anything is dialled. */
import fp from 'fastify-plugin'
import { GatewayError } from '../src/answers/errors.ts'
import { namesSensitiveFile, type FilePattern } from '../src/rules/sensitive.ts'

/** What is refused besides the built-in names. */
export interface SensitiveFilesOptions {
  readonly added: readonly FilePattern[]
}

/** The same for everybody: making an error is a large part of what a refusal costs. */
const REFUSAL = new GatewayError('sensitive-file')

export default fp(
  async function sensitiveFiles(app, { added }: SensitiveFilesOptions) {
    app.addHook('onRequest', function refuseSensitiveFile({ exchange }, _reply, done) {
      exchange.outcome.stage = 'sensitive-files'
      const isSensitive =
        exchange.target !== undefined && namesSensitiveFile(exchange.target, added)
      done(isSensitive ? REFUSAL : undefined)
    })
  },
  { name: 'sensitive-files', fastify: '5.x', dependencies: ['host'] },
)
