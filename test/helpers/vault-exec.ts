/** How does a test run `vault exec` without the rest of the program? As a process of its own, whose arguments are the command's. */
import { exec } from '../../src/commands/vault/exec.ts'

/** For how long leases are renewed, in milliseconds, when the test says so. */
const { TEST_LONGEST_MS: longest, ...env } = process.env

process.exitCode = await exec(
  process.argv.slice(2),
  env,
  {
    out: (text) => void process.stdout.write(text),
    err: (text) => void process.stderr.write(text),
  },
  longest === undefined ? {} : { longestMs: Number(longest) },
)
