/** What is wrong with a command line? Node's parseArgs says it in its own words, with advice that misleads; these are ours. */
import { codeOf } from '../answers/errors.ts'

/** The problem that an error of parseArgs is about; undefined for any other error. */
export function argumentProblem(error: unknown): string | undefined {
  if (!(error instanceof Error) || !codeOf(error).startsWith('ERR_PARSE_ARGS')) return undefined
  const { message } = error
  const [, quoted = ''] = /'([^']*)'/.exec(message) ?? []
  const option = quoted.replace(/^-\w, /, '').replace(/ <value>$/, '')
  switch (codeOf(error)) {
    case 'ERR_PARSE_ARGS_UNKNOWN_OPTION':
      return `unknown option ${option}`
    case 'ERR_PARSE_ARGS_UNEXPECTED_POSITIONAL':
      return `unexpected argument ${JSON.stringify(quoted)}`
    case 'ERR_PARSE_ARGS_INVALID_OPTION_VALUE':
      if (message.includes('does not take')) return `${option} takes no value`
      return message.includes('ambiguous')
        ? `${option} takes a value; give one that begins with a hyphen as ${option}=VALUE`
        : `${option} takes a value`
    default:
      return message
  }
}
