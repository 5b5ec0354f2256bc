/** Does the request name a file that must never leave the workspace? Refused for everyone, before anything is dialled. */
import { GatewayError } from '../src/answers/errors.ts'
import { stage } from '../src/request/stage.ts'
import { namesSensitiveFile, type FilePattern } from '../src/rules/sensitive.ts'

/** What is refused besides the built-in names. */
export interface SensitiveFilesOptions {
  readonly added: readonly FilePattern[]
}

/** The same for everybody: making an error is a large part of what a refusal costs. */
const REFUSAL = new GatewayError('sensitive-file')

export default stage(
  'sensitive-files',
  ({ added }: SensitiveFilesOptions) =>
    function refuseSensitiveFile({ exchange: { target } }) {
      return target !== undefined && namesSensitiveFile(target, added) ? REFUSAL : undefined
    },
)
