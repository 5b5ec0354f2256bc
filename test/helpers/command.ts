/** How does a test run a command of the program? In this process, with the output and the exit code as the result. */
import type { Environment } from '../../src/config/load.ts'
import type { Io } from '../../src/commands/io.ts'

type Command<Rest extends unknown[]> = (
  args: readonly string[],
  env: Environment,
  io: Io,
  ...rest: Rest
) => Promise<number>

/** Runs a command and collects its output. */
export async function runCommand<Rest extends unknown[]>(
  command: Command<Rest>,
  args: readonly string[],
  env: Environment,
  ...rest: Rest
): Promise<{ code: number; out: string; err: string }> {
  let out = ''
  let err = ''
  const io = {
    out: (text: string) => void (out += text),
    err: (text: string) => void (err += text),
  }
  const code = await command(args, env, io, ...rest)
  return { code, out, err }
}
