/** `workspace-gateway vault lease`: a lease for a program of an agent, at the agent's own socket. */
import { parseArgs } from 'node:util'
import { EXIT } from '../../process/exit-codes.ts'
import { askForLease, VaultNotReachedError, VaultRefusedError } from '../../vault/agent-client.ts'
import type { LeaseAnswer } from '../../vault/protocol.ts'
import { parseDuration } from '../duration.ts'
import { CommandError, wrongUsage } from '../owner.ts'
import { jsonText } from '../printable.ts'
import { listOf, onlyWord, type VaultContext } from './context.ts'
import { ownSocket } from './own-socket.ts'

/** Gets a lease and prints it: the token alone, or everything as JSON. */
export async function lease({ args, env, io }: VaultContext): Promise<void> {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      socket: { type: 'string' },
      methods: { type: 'string' },
      paths: { type: 'string' },
      ttl: { type: 'string' },
      json: { type: 'boolean', default: false },
    },
  })
  const service = onlyWord(positionals, 'lease', 'the name of a SERVICE')
  const ttl = values.ttl === undefined ? undefined : parseDuration(values.ttl)
  if (values.ttl !== undefined && ttl === undefined)
    throw wrongUsage('vault', `--ttl "${values.ttl}" is not a duration such as 90s or 15m`)
  const [methods, paths] = [listOf(values.methods), listOf(values.paths)]
  const answer = await ask(values.socket ?? ownSocket(env), {
    service,
    ...(methods === undefined ? {} : { methods: methods.map((one) => one.toUpperCase()) }),
    ...(paths === undefined ? {} : { paths }),
    ...(ttl === undefined ? {} : { ttl }),
  })
  if (values.json) io.out(jsonText(answer))
  else {
    io.out(`${answer.token}\n`)
    const where =
      answer.base_url === null
        ? `at the agent's socket, path /s/${service}/… (VAULT_PORT is not set)`
        : `at ${answer.base_url}`
    io.err(`workspace-gateway: valid until ${answer.expires_at}, ${where}\n`)
  }
}

async function ask(...question: Parameters<typeof askForLease>): Promise<LeaseAnswer> {
  try {
    return await askForLease(...question)
  } catch (error) {
    if (error instanceof VaultNotReachedError)
      throw new CommandError(error.message, EXIT.unavailable, { cause: error })
    if (error instanceof VaultRefusedError)
      throw new CommandError(error.message, EXIT.failed, { cause: error })
    throw error
  }
}
