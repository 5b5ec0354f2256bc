/** `workspace-gateway remote`: how does another machine reach the workspace through the relay? It pairs once, by a link. */
import { parseArgs } from 'node:util'
import { codeOf } from '../answers/errors.ts'
import type { Environment } from '../config/load.ts'
import { EXIT } from '../process/exit-codes.ts'
import type { RemoteConnection } from '../relay/client/connection.ts'
import type { PairedDevice } from '../relay/client/paired-device.ts'
import type { Io } from './io.ts'
import { CommandError, exitCodeOf, wrongUsage } from './owner.ts'
import { messageText } from './printable.ts'
import { connectAgain, connectByOffer, offerIn, ownName, type Say } from './remote/connect.ts'
import { lineEnd, OwnTerminal, type TerminalStreams } from './remote/own-terminal.ts'
import { deletePairing, pairingFile, readPairing } from './remote/pairing-file.ts'
import { printAnswer, requestIn } from './remote/request.ts'
import { runShell } from './remote/shell.ts'

/** Failed attempts after which a script is not kept waiting. */
const MAX_ATTEMPTS = 3

/**
 * Opens a terminal of the workspace in this one, sends one request, or forgets the pairing.
 * @returns 0; 1 when it was refused; 64 for wrong usage; 69 when the relay or the workspace cannot be reached; 78 when the pairing's file
 * cannot be used
 * @throws an error with a code `ERR_PARSE_ARGS_…` for unknown arguments
 */
export async function remote(
  args: readonly string[],
  env: Environment,
  io: Io,
  streams: TerminalStreams = process,
): Promise<number> {
  const [verb = '', ...rest] = args
  const say = (text: string) => io.err(`workspace-gateway: ${messageText(text)}${lineEnd(streams)}`)
  return exitCodeOf(io, async () => {
    const context = { env, say, streams, file: pairingFile(env) }
    if (verb === 'forget') await forget(rest, context)
    else if (verb === 'request') await request(rest, context)
    else await terminal(args, context)
  })
}

/** What each part of the command works with. */
interface Context {
  readonly env: Environment
  readonly say: Say
  readonly streams: TerminalStreams
  /** The pairing's file. */
  readonly file: string
}

async function terminal(args: readonly string[], context: Context): Promise<void> {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: { name: { type: 'string' }, replace: { type: 'boolean', default: false } },
  })
  const [link, ...more] = positionals
  if (more.length > 0) throw wrongUsage('remote', 'remote takes one link, "request" or "forget"')
  const own = new OwnTerminal(context.streams)
  if (!own.isThere)
    throw wrongUsage(
      'remote',
      'remote opens a terminal, and standard input and output are none here; a script takes "remote request PATH"',
    )
  const open =
    link === undefined
      ? await connectAgain(await paired(context), context.say)
      : await pairBy(
          link === '-' ? await own.ask('Link: ', { isHidden: true }) : link,
          values,
          context,
        )
  try {
    if (open.state.kind === 'open' && open.state.target === 'service')
      throw new CommandError(
        'the workspace has another service behind its relay, which has no terminal; use "remote request PATH"',
        EXIT.failed,
      )
    await runShell(open, own, context.say)
  } finally {
    open.close()
  }
}

async function pairBy(
  link: string,
  options: { readonly name?: string | undefined; readonly replace: boolean },
  { file, say }: Context,
): Promise<RemoteConnection> {
  const offer = offerIn(link)
  if (!options.replace) {
    const before = await readPairing(file)
    if (before !== undefined)
      throw new CommandError(
        `this machine is paired with ${before.host} already; "remote" without a link goes there, and --replace pairs it anew`,
        EXIT.failed,
      )
  }
  return connectByOffer({ offer, name: options.name ?? ownName(), file, say })
}

async function request(args: readonly string[], context: Context): Promise<void> {
  const planned = requestIn(args)
  const { stdout } = context.streams
  const open = await connectAgain(await paired(context), context.say, MAX_ATTEMPTS)
  stdout.on('error', leftToWrite)
  try {
    await printAnswer(open, planned, (bytes) => written(stdout, bytes))
  } catch (error) {
    if (codeOf(error) !== 'EPIPE') throw error // the reader closed the pipe, as in `… | head -1`
  } finally {
    open.close()
    stdout.off('error', leftToWrite)
  }
}

/** An error of standard output is told to the one who writes. */
function leftToWrite(): void {}

/** Resolves when there is room for more. */
async function written(stdout: NodeJS.WriteStream, bytes: Uint8Array): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  stdout.write(bytes, (error) => (error ? reject(error) : resolve()))
  await promise
}

async function forget(args: readonly string[], { file, say }: Context): Promise<void> {
  parseArgs({ args: [...args] })
  const device = await readPairing(file).catch(() => undefined)
  if (!deletePairing(file)) throw new CommandError('this machine is not paired', EXIT.failed)
  const id = device === undefined ? 'ID' : device.id
  say(
    `forgotten here; in the workspace, "workspace-gateway devices revoke ${id}" removes this device`,
  )
}

async function paired({ file }: Context): Promise<PairedDevice> {
  const device = await readPairing(file)
  if (device !== undefined) return device
  throw new CommandError(
    'this machine is not paired; run "workspace-gateway pair" in the workspace, and here "workspace-gateway remote LINK"',
    EXIT.failed,
  )
}
