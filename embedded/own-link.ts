/**
 * Which link do `npm run pair` and `npm run devices` mean? The one of `npm start`, whatever the settings of another link are in the
 * environment. This module is loaded before the command (`--import`) and sets its settings.
 */
import { relayPlace } from './relay-place.ts'

/** The command as a person has it here: nobody has to have `workspace-gateway` on the PATH to follow a remedy. */
function asTypedHere(text: string): string {
  return text
    .replaceAll('start "workspace-gateway link"', 'start it with "npm start"')
    .replaceAll(/workspace-gateway (pair|devices)(?= )/g, 'npm run --silent $1 --')
    .replaceAll('"workspace-gateway pair"', '"npm run --silent pair"')
    .replaceAll('workspace-gateway help', 'node src/main.ts help')
}

const { env, stderr } = process
const write = stderr.write.bind(stderr)
stderr.write = (text: Uint8Array | string) =>
  write(typeof text === 'string' ? asTypedHere(text) : text)

const others = env['GATEWAY_LINK_OWNER_SOCKET']
for (const name of Object.keys(env)) if (name.startsWith('LINK_')) delete env[name]
env['LINK_OWNER_SOCKET'] = others ?? relayPlace(env).ownerSocket
