/**
 * Which vault does `npm run vault` mean? The one of `npm start`, whatever the settings of another vault are in the environment. This
 * module is loaded before the command (`--import`) and sets its settings.
 */
import { EXIT } from '../src/process/exit-codes.ts'
import { vaultPlace } from './vault-place.ts'

const USAGE = `npm run vault: the vault of the workspace that npm start runs

  npm run vault -- list                          its entries; also add, show, grant, revoke, rotate, audit, …
  npm run --silent vault -- exec demo -- node embedded/vault-client.ts
                                                 a program that uses an entry, as the agent

All commands: npx node src/main.ts help vault. GATEWAY_STATE_DIR and GATEWAY_VAULT_SOCKETS must be the same as at npm start, if
they were set there. VAULT_ settings are not used.
`

/** The command as a person has it here: nobody has to have `workspace-gateway` on the PATH to follow a remedy. */
function asTypedHere(text: string): string {
  return text
    .replaceAll('start "workspace-gateway vault"', 'start it with "npm start"')
    .replaceAll('workspace-gateway help vault', 'npx node src/main.ts help vault')
    .replaceAll(/workspace-gateway vault (?=[a-z])/g, 'npm run vault -- ')
}

const { env, stderr } = process
const write = stderr.write.bind(stderr)
stderr.write = (text: Uint8Array | string) =>
  write(typeof text === 'string' ? asTypedHere(text) : text)

const { doors, folder, file, keyFile } = vaultPlace(env)
const others = env['GATEWAY_VAULT_SOCKETS']
for (const name of Object.keys(env)) if (name.startsWith('VAULT_')) delete env[name]
Object.assign(
  env,
  others === undefined
    ? {
        VAULT_SOCKETS: doors,
        VAULT_FILE: file,
        VAULT_STATE_DIR: folder,
        VAULT_MASTER_KEY_FILE: keyFile,
      }
    : { VAULT_SOCKETS: others },
)

const [, , ...args] = process.argv
if (args.length < 2 || ['--help', '-h'].includes(args[1] ?? '')) {
  process.stdout.write(USAGE)
  process.exit(args.length < 2 ? EXIT.usage : EXIT.ok)
}
