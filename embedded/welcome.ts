/** What does the user read when everything runs? The text built here. */
import { relative } from 'node:path'
import type { NamedService } from './named-services.ts'
import { STATE_FOLDER } from './running-workspace.ts'
import { userName } from './sign-in.ts'
import type { VaultOutcome } from './vault-beside.ts'
import type { Workspace } from './workspace.ts'

const TRY_VAULT = 'npm run --silent vault -- exec demo -- node embedded/vault-client.ts'

/**
 * Builds the text: the sign-in link, the terminal's password, how programs sign in, how to try the vault, and how to stop.
 *
 * @param silent the configured services that do not respond
 */
export function welcomeText(
  workspace: Workspace,
  silent: readonly NamedService[],
  folder = process.cwd(),
): string {
  const { origin, signInLink, terminal } = workspace
  const at = origin === '' ? '' : `: ${origin}`
  const inFolder = stateFolder(workspace, folder)
  const lines = [
    ...(silent.length === 0 ? [`Your workspace is up${at}`] : partlyUp(silent, at)),
    '',
    `Open this link within 10 minutes to sign in, for ${lengthOf(workspace.sessionSeconds)}:`,
    `  ${signInLink}`,
    'It works once. Another one, also for another browser:',
    `  ${[...inFolder, 'npm run sign-in-link'].join(' ')}`,
  ]
  if (terminal !== null) {
    const [user = '', ...password] = terminal.credential.split(':')
    lines.push(
      '',
      `The terminal (${terminal.kind}) at ${origin}/terminal asks for a name and a password:`,
      `  ${user}`,
      `  ${password.join(':')}`,
    )
  }
  lines.push(
    '',
    'A program signs in with a token of its own. This makes one, for the agent alone:',
    `  TOKEN=$(${[...inFolder, 'npm run --silent api-token -- create --name me'].join(' ')})`,
  )
  if (origin !== '')
    lines.push('and uses it:', `  curl -H "Authorization: Bearer $TOKEN" ${origin}/api/v1/models`)
  if (origin !== '' && workspace.hasDaemon)
    lines.push(
      '',
      `A stand-in of Hubcode's daemon answers those who are signed in at ${origin}/_code/.`,
    )
  if (workspace.vault !== null) lines.push('', ...vaultLines(workspace.vault, inFolder))
  if (workspace.relayProblem !== undefined)
    lines.push('', ...relayLines(workspace.relayProblem, inFolder))
  lines.push('', 'Ctrl+C stops it.')
  return `\n${lines.map((line) => (line === '' ? '' : `  ${line}`)).join('\n')}\n\n`
}

/** The lines that name the services that do not respond, and what to do. */
function partlyUp(silent: readonly NamedService[], at: string): string[] {
  const does = silent.length === 1 ? 'does' : 'do'
  const whole = silent.length === 1 ? 'it is' : 'all of them are'
  return [
    `The gateway is up${at}`,
    `but ${listed(silent)} ${does} not answer:`,
    ...silent.map(({ setting, address }) => `  no answer from ${address.url} (${setting})`),
    `The gateway goes on running, and the workspace is whole as soon as ${whole} started.`,
    'With the setting left out, a stand-in takes the place at the next npm start.',
  ]
}

/** How to try the vault, or why it does not run. */
function vaultLines({ problem, unused }: VaultOutcome, inFolder: readonly string[]): string[] {
  const lines =
    problem === null
      ? [
          'The vault lends an agent a credential that it never holds. This uses one, in this folder, also from the terminal:',
          `  ${[...inFolder, TRY_VAULT].join(' ')}`,
        ]
      : [
          'The vault does not run, and everything else does:',
          ...problem.split('\n').map((line) => `  ${line}`),
        ]
  if (unused.length > 0)
    lines.push(
      `It does not use ${unused.join(', ')}: a vault of your own is named with GATEWAY_VAULT_SOCKETS.`,
    )
  return lines
}

/** How to pair a device, or why that is not possible. */
function relayLines(problem: string | null, inFolder: readonly string[]): string[] {
  if (problem !== null)
    return [
      'The relay does not run, and everything else does:',
      ...problem.split('\n').map((line) => `  ${line}`),
    ]
  return [
    'A device reaches the workspace through a relay that cannot read along. This prints a link that pairs one, and asks whether to let it in:',
    `  ${[...inFolder, `npm run --silent pair -- --sub ${quoted(userName())}`].join(' ')}`,
    'and this shows the devices:',
    `  ${[...inFolder, 'npm run --silent devices -- list'].join(' ')}`,
  ]
}

/** The names as a list in a sentence: `the dashboard, the agent and the terminal`. */
export function listed(services: readonly NamedService[]): string {
  const names = services.map(({ name }) => `the ${name}`)
  return new Intl.ListFormat('en-GB').format(names)
}

/** A length of time in words: `12 hours`. */
function lengthOf(seconds: number): string {
  const [count, unit] =
    seconds % 86_400 === 0
      ? [seconds / 86_400, 'day']
      : seconds % 3600 === 0
        ? [seconds / 3600, 'hour']
        : [Math.round(seconds / 60), 'minute']
  return `${count} ${unit}${count === 1 ? '' : 's'}`
}

/** The setting that names the state folder, when it is not the one that every command takes here. */
function stateFolder({ stateDir }: Workspace, folder: string): string[] {
  const near = nearest(stateDir, folder)
  return near === STATE_FOLDER ? [] : [`GATEWAY_STATE_DIR=${quoted(near)}`]
}

/** A path as a user in `folder` would write it: relative if it is below that folder. */
function nearest(path: string, folder: string): string {
  const near = relative(folder, path)
  return near.startsWith('..') ? path : near
}

function quoted(text: string): string {
  return /^[\w./-]+$/.test(text) ? text : `'${text.replaceAll("'", String.raw`'\''`)}'`
}
