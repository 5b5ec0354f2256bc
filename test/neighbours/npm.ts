/** npm, for what is installed beside the project and not into it. */
import { delimiter, dirname } from 'node:path'
import { run } from './neighbour.ts'

/** Runs npm in a folder, under the Node that runs this. @throws {Error} with npm's last words */
export async function runNpm(folder: string, args: readonly string[]): Promise<void> {
  await run('npm', ['--prefix', folder, ...args], { cwd: folder, env: npmEnvironment() })
}

/** Our own environment, less what an npm that runs us has put there: it would work on that npm's project. */
function npmEnvironment(): Record<string, string | undefined> {
  const path = `${dirname(process.execPath)}${delimiter}${process.env['PATH']}`
  const inherited = /^(?:npm_config_(?:local_)?prefix|npm_(?:package|lifecycle)_.*|INIT_CWD)$/i
  const kept = Object.entries(process.env).filter(([name]) => !inherited.test(name))
  return { ...Object.fromEntries(kept), PATH: path } // npm is a script of whatever Node is found first
}
