/** What does the command say about itself? Generated from the declarations, so that it cannot drift. */
import { SETTINGS } from './config/settings.ts'
import type { Setting } from './config/setting.ts'

/** The text of `workspace-gateway help`. */
export function helpText(): string {
  const settings = Object.values<Setting<unknown>>(SETTINGS).map(describe).join('\n')
  return `workspace-gateway: the door of a cloud workspace

Usage
  workspace-gateway serve                        run the gateway in the foreground (also without a command)
  workspace-gateway token --sub NAME [--ttl 1h]  mint a workspace token; needs GATEWAY_WORKSPACE and GATEWAY_JWT_SECRET
  workspace-gateway check [--json]               check the configuration without listening; --explain NAME tells a setting
  workspace-gateway doctor [--json]              asks the running gateway and the services; names each fault and its remedy
  workspace-gateway explain ID [--json]          why a recent request was answered as it was, asked of the running gateway
  workspace-gateway terminal-credential          the terminal's user and password, made once; --path where, --rotate new ones
  workspace-gateway help                         this text

Exit codes
  0 stopped   1 failed   64 wrong usage   69 address taken or already running   78 wrong configuration

Settings (environment variables; a secret can also be given as a file with …_FILE)
${settings}
`
}

function describe({
  env,
  secret,
  required,
  default: defaultText,
  description,
  accepts,
}: Setting<unknown>): string {
  const fallback = required
    ? 'required'
    : defaultText === undefined || defaultText === ''
      ? 'not set'
      : `default ${defaultText}`
  return `  ${env}${secret ? ` (or ${env}_FILE)` : ''} [${fallback}]\n      ${description}\n      Takes ${accepts}.`
}
