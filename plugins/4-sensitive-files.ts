/** Stage 4: does the request name a file that must never leave the workspace? If so, it is refused for every client. */
import { GatewayError } from '../src/answers/errors.ts'
import { stage } from '../src/request/stage.ts'
import { namesSensitiveFile, type FilePattern } from '../src/rules/sensitive.ts'

/** Which files are sensitive. */
interface SensitiveFilesOptions {
  /** Patterns besides the built-in names. */
  readonly added: readonly FilePattern[]
}

/** One error for all refusals, because making an error is a large part of what a refusal costs. */
const REFUSAL = new GatewayError('sensitive-file')

export default stage(
  'sensitive-files',
  ({ added }: SensitiveFilesOptions) =>
    function refuseSensitiveFile({ exchange: { target } }) {
      return target !== undefined && namesSensitiveFile(target, added) ? REFUSAL : undefined
    },
)
