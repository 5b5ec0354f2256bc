/** How do tests install npm packages outside the project? With npm in a folder of its own. */
import { delimiter, dirname } from 'node:path'
import { run } from './neighbour.ts'

/** Runs npm in a folder, with the Node of this process. @throws {Error} with npm's last output */
export async function runNpm(folder: string, args: readonly string[]): Promise<void> {
  await run('npm', ['--prefix', folder, ...args], { cwd: folder, env: npmEnvironment() })
}

/** This process's environment without npm's variables, with which npm would work on the project of its parent. */
function npmEnvironment(): Record<string, string | undefined> {
  const path = `${dirname(process.execPath)}${delimiter}${process.env['PATH']}`
  const inherited = /^(?:npm_config_(?:local_)?prefix|npm_(?:package|lifecycle)_.*|INIT_CWD)$/i
  const kept = Object.entries(process.env).filter(([name]) => !inherited.test(name))
  return { ...Object.fromEntries(kept), PATH: path } // npm is a script that runs with the first Node on the PATH
}
