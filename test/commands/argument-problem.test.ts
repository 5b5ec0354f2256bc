/** Does a wrong option get clear words, and the help of its own command? */
import { parseArgs } from 'node:util'
import t from 'tap'
import { argumentProblem } from '../../src/commands/argument-problem.ts'
import { run, runBare } from '../helpers/process.ts'

const options = {
  name: { type: 'string', short: 'n' },
  json: { type: 'boolean' },
} as const

function problemOf(...args: string[]): string | undefined {
  try {
    parseArgs({ args, options })
    return 'none'
  } catch (error) {
    return argumentProblem(error)
  }
}

t.test('each mistake is named, with the option and without advice of Node', (t) => {
  t.equal(problemOf('--nam', 'x'), 'unknown option --nam')
  t.equal(problemOf('x y'), 'unexpected argument "x y"')
  t.equal(problemOf('--name'), '--name takes a value')
  t.equal(problemOf('-n'), '--name takes a value')
  t.equal(problemOf('--json=yes'), '--json takes no value')
  t.equal(
    problemOf('--name', '--json'),
    '--name takes a value; give one that begins with a hyphen as --name=VALUE',
  )
  t.equal(argumentProblem(new Error('another')), undefined)
  t.equal(argumentProblem('text'), undefined)
  t.end()
})

t.test('the hint leads to the help of the command', async (t) => {
  const commands: ReadonlyArray<readonly [start: typeof run, args: string[], err: RegExp]> = [
    [
      runBare,
      ['vault', 'list', '--jsn'],
      /unknown option --jsn\nTry "workspace-gateway help vault"\.\n$/,
    ],
    [
      run,
      ['sessions', 'list', 'x'],
      /unexpected argument "x"\nTry "workspace-gateway help sessions"\.\n$/,
    ],
    [run, ['dance', '--x'], /unknown command "dance"\nTry "workspace-gateway help"\.\n$/],
    [
      run,
      ['api-token', 'revoke', '--leaked'],
      /--leaked - and a text on standard input\nTry ".*help api-token"\.\n$/,
    ],
  ]
  for (const [start, args, err] of commands) {
    const program = start(t, args, {})
    t.equal(await program.exited, 64, args.join(' '))
    t.match(program.stderr(), err)
  }
})
