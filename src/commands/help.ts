/** What does `help` print? A text that is generated from the declarations of commands and settings, so that it stays true. */
import { LINK_SETTINGS } from '../config/link-settings.ts'
import { LIMITS_SETTINGS } from '../config/limits-settings.ts'
import { RELAY_SETTINGS } from '../config/relay-settings.ts'
import { SETTINGS } from '../config/settings.ts'
import { TERMINALS_SETTINGS } from '../config/terminals-settings.ts'
import { VAULT_SETTINGS } from '../config/vault-settings.ts'
import type { Setting } from '../config/setting.ts'
import { nearestName } from '../config/nearest.ts'
import { VERSION } from '../answers/version.ts'

/** The description of a command. */
interface Command {
  /** The command line after the program's name. */
  readonly usage: string
  /** The line about the command in the overview. */
  readonly summary: string
  /** Further lines of the command's own help: options and exit codes. */
  readonly details: readonly string[]
}

const JSON_OPTION = '--json          everything as JSON, for a program'

const WITHOUT_GATEWAY =
  'Works with a running gateway and without one. Needs GATEWAY_STATE_DIR alone.'

/** The exit codes of the commands that do an owner's action. */
const OWNER_EXITS =
  'Ends with 0, 1 when it was refused, 69 when the gateway or its state cannot be reached, 78 for a wrong setting.'

/** The exit codes of the commands that ask the link. */
const LINK_EXITS =
  'Ends with 0, 1 when the link refused, 69 when it cannot be asked, 78 for a wrong setting.'

/** All commands, in the order of the overview. */
export const COMMANDS = {
  serve: {
    usage: 'serve',
    summary: 'run the gateway in the foreground (also without a command)',
    details: [
      'Takes no arguments: settings are environment variables, "workspace-gateway help" lists them.',
      'SIGTERM or SIGINT stops it, a second one at once. SIGHUP reads the secret files again.',
      'Ends with 0 when stopped, 1 after a second signal, 69 when the address is taken, 78 for a wrong configuration.',
    ],
  },
  token: {
    usage: 'token --sub NAME [--ttl 1h]',
    summary: 'mint a workspace token; needs GATEWAY_WORKSPACE and GATEWAY_JWT_SECRET',
    details: [
      '--sub NAME      whom it is for; told to the services, and in the log',
      '--ttl TIME      how long it is valid: 90s, 15m, 1h (the default) or 7d',
    ],
  },
  check: {
    usage: 'check [--json] [--explain NAME]',
    summary: 'check the configuration without listening, or explain one setting',
    details: [
      JSON_OPTION,
      '--explain NAME  what one setting means, takes, and is now',
      'Ends with 0 when the gateway would start, 78 when it would not.',
    ],
  },
  doctor: {
    usage: 'doctor [--json]',
    summary: 'ask the running gateway and the services; name each fault and its remedy',
    details: [JSON_OPTION, 'Ends with 0 when nothing fails, else 1.'],
  },
  explain: {
    usage: 'explain ID [--json]',
    summary: 'tell why a recent request was answered as it was; asks the running gateway',
    details: [
      'ID              as in X-Request-Id, on an error page, or in the log',
      JSON_OPTION,
      'Ends with 0, 1 when the gateway does not know the request, 69 when no gateway runs.',
    ],
  },
  'sign-in-link': {
    usage: 'sign-in-link --sub NAME [--origin URL]',
    summary: 'print a link that signs somebody in, once, within 10 minutes',
    details: [
      '--sub NAME      whom it signs in',
      '--origin URL    where the workspace is reached; by default https:// and its public host',
      'Without a running gateway it needs GATEWAY_WORKSPACE and GATEWAY_JWT_SECRET.',
      OWNER_EXITS,
    ],
  },
  sessions: {
    usage: 'sessions list|end',
    summary: 'list who is signed in, or end sessions',
    details: [
      'list [--json]     the sessions of browsers, and of programs seen since the start',
      'end ID            end one session, wherever it is used',
      'end --sub NAME    end every session of a person, and the workspace tokens of their programs',
      'end --all         the same for everybody; API tokens stay',
      WITHOUT_GATEWAY,
      OWNER_EXITS,
    ],
  },
  'api-token': {
    usage: 'api-token create|list|revoke|rotate',
    summary: 'make, list, revoke or replace the tokens of programs (hub_…)',
    details: [
      'create --name NAME   make a token, printed once, alone on standard output',
      '  --scope SCOPE      what it may do: api (the default), dashboard, chat, terminal, vault, code, owner; with',
      '                     :read for reading alone, then :/path for a part; several by comma, or repeated',
      '  --ttl TIME         how long it is valid: 90d (the default), 12h …; or --no-expiry',
      '  --from CIDR        the addresses it may be used from; repeated for several',
      '  --rate N           N requests a minute of its own; without it, it shares those of its address',
      '  --sub NAME         whom services see as the user; by default the first of GATEWAY_OWNERS, or "owner"',
      'list [--json]        all tokens, without their secrets; warns of unused and exposed ones',
      'revoke NAME|ID       for good: the next request fails, what is open ends',
      'revoke --leaked -    revoke every token in the text on standard input',
      'rotate NAME|ID       make a new one; the old one is valid for --overlap 24h longer (0: ends at once)',
      WITHOUT_GATEWAY,
      OWNER_EXITS,
    ],
  },
  'second-factor': {
    usage: 'second-factor list|reset|unlock',
    summary: 'list second factors; take those of a person away, or end a lock',
    details: [
      'list [--json]      who has which, without their secrets; warns of what does not work',
      'reset --sub NAME   remove every factor of a person who has lost them, and end their sessions',
      'unlock --sub NAME  end the lock of a person’s codes, after wrong ones or a wrong clock',
      WITHOUT_GATEWAY,
      OWNER_EXITS,
    ],
  },
  keys: {
    usage: 'keys [--json]',
    summary: 'list the keys of the running gateway, and who still uses which',
    details: [
      JSON_OPTION,
      'A key that only verifies can be removed when it has no sessions and nobody has used it.',
      'Ends with 0, 69 when no gateway runs, 78 for a wrong setting.',
    ],
  },
  state: {
    usage: 'state backup FILE | restore FILE',
    summary: 'back up sessions and API tokens, or restore them, which signs everybody out',
    details: [
      'backup FILE     save the state to a new file, also while the gateway runs',
      'restore FILE    replace the state by a backup, while no gateway runs; the state before is kept beside it',
      'A backup has no key and no token. Needs GATEWAY_STATE_DIR alone.',
      'Ends with 0, 1 when the file cannot be used, 69 when a gateway runs, 78 for a backup of a newer program.',
    ],
  },
  terminals: {
    usage: 'terminals [list|end ID]',
    summary:
      'keep the shells of terminals, also while no browser or gateway is there; or list and end them',
    details: [
      'Without an argument it runs the keeper of terminals in the foreground, between the gateway and ttyd.',
      'Its settings are TERMINALS_… variables (docs/terminals.md). SIGTERM ends every shell.',
      'list [--json]   the terminals that it keeps, and which of them wait for their page; asks the running gateway',
      'end ID          end one, and its shell; the whole ID, as the list shows it',
      'list and end need GATEWAY_STATE_DIR alone.',
      OWNER_EXITS,
    ],
  },
  'terminal-credential': {
    usage: 'terminal-credential [--path] [--rotate]',
    summary: "print the terminal's user and password, which the first call makes",
    details: [
      '--path          print where the file is instead',
      '--rotate        replace the password; ttyd must be restarted then',
      'Needs GATEWAY_STATE_DIR alone. Ends with 78 when the file cannot be trusted or made.',
    ],
  },
  vault: {
    usage: 'vault [COMMAND]',
    summary: 'keep credentials that agents use and never hold; or change, check and use them',
    details: [
      'Without a command it runs the vault in the foreground. Its settings are VAULT_… variables (docs/vault.md).',
      '--config HUB.yaml        the vault’s id is in this file, and whether it is shared; also of check and restore',
      'For the owner (--socket PATH names the owner’s socket; by default the one in VAULT_SOCKETS):',
      'add SERVICE < FILE       add an entry, with its credential from standard input; github, github-git, anthropic,',
      '                         openai, slack and google have presets, all others need --origin, --methods, --paths',
      '  --origin URL           the one place that the credential is sent to',
      "  --header 'NAME: … {}'  the header that carries it, with a hole for it; or --basic USER",
      '  --methods GET,POST     the methods that may be used',
      '  --paths /repos,/user   the path prefixes that may be used',
      "  --grant AGENT          who may use it; repeated, or several by comma; 'research/*': another workspace",
      '  --forward-headers A,B  further request headers that are forwarded',
      '  --allow-private        the service may have a private address; --upgrade: WebSockets; --decode: encoded answers',
      '  --note TEXT            what you want to remember; --kind header, basic or workspace',
      '  --remote SERVICE       of the kind workspace: what the other workspace calls it',
      'list [--json]            all entries; show SERVICE [--json]: one; never a credential',
      'rotate SERVICE < FILE    a new credential at once; --overlap 10m keeps the old one for --back',
      'grant SERVICE AGENT…     let agents use it; revoke SERVICE AGENT… takes that back, and cuts what is open',
      'resume SERVICE           end a suspension; remove SERVICE: delete the entry',
      'audit [--json] [--limit N]  the last accesses; audit verify [--anchor ROW:HASH]: is it as it was written',
      'backup FILE              save the sealed file; restore FILE [--accept-older]: put one back, while no vault runs',
      'check                    whether settings, key, file and audit log are sound; also without a running vault',
      'rekey --new-key-file F   seal everything with another key',
      'For an agent (--socket PATH names its socket):',
      'lease SERVICE            print a lease for 15 minutes; --methods, --paths and --ttl narrow it; --json',
      'exec SERVICE -- PROGRAM  run a program with leases that are renewed while it runs',
      '  It ends with the program’s exit code; 77 when a lease was refused, 126 or 127 when the program cannot be run.',
      'Ends with 0, 1 when the vault refused, 69 when it cannot be asked, 78 for a wrong setting or a file that is not sound.',
    ],
  },
  relay: {
    usage: 'relay',
    summary: 'run a relay, where devices meet daemons that have no open port',
    details: [
      'Takes no arguments: settings are RELAY_… variables (docs/relay.md). It needs no other part of the workspace.',
      'It need not be trusted: what it passes is encrypted from end to end, and it keeps nothing.',
      'SIGTERM or SIGINT closes its connections, spread over RELAY_DRAIN_SECONDS; a second one ends it at once.',
      'Ends with 0 when stopped, 1 after a second signal, 69 when the address is taken, 78 for a wrong setting.',
    ],
  },
  limits: {
    usage: 'limits [check]',
    summary: 'run the limits of the control plane, such as workspaces that a user may provision',
    details: [
      'Without an argument it runs in the foreground. Its settings are LIMITS_… variables (docs/limits.md).',
      'It needs no other part of the workspace. SIGHUP reads the tokens and the policies again.',
      'SIGTERM or SIGINT lets requests end for LIMITS_DRAIN_SECONDS; a second one ends it at once.',
      'check [--json]  check settings, tokens and policies, and print the policies; opens neither port nor store',
      '"workspace-gateway check --explain LIMITS_PORT" explains a setting.',
      'Ends with 0 when stopped or sound, 1 after a second signal, 69 when the address or the folder is taken',
      'or the disk is full, 78 for a wrong setting or policy.',
    ],
  },
  link: {
    usage: 'link',
    summary: 'keep the workspace reachable for paired devices, through a relay that is not trusted',
    details: [
      'Takes no arguments: its settings are LINK_… variables (docs/relay.md). SIGTERM stops it.',
      'Ends with 0 when stopped, 69 when another link runs, 78 for a wrong setting or a file that cannot be trusted.',
    ],
  },
  pair: {
    usage: 'pair [--sub NAME] [--approved]',
    summary:
      'print a QR code and a link with which one device can pair, within 10 minutes, and let it in',
    details: [
      '--sub NAME      whose session the device gets; by default the first of GATEWAY_OWNERS, or "owner"',
      '--approved      let the device in at once: whoever opens the link first',
      '--no-wait       print and end. Without it, and in a terminal, the command waits until a device has used the link,',
      '                says who has come, and asks whether to let it in. Ctrl-C leaves the link open.',
      JSON_OPTION,
      '--reset --yes   first make a new key and forget every device: all must be paired again',
      'Asks the running link at LINK_OWNER_SOCKET.',
      'Ends with 0, 1 when the link refused or its pairing link has ended, 69 when it cannot be asked, 78 for a wrong setting.',
    ],
  },
  devices: {
    usage: 'devices list|approve|rename|revoke',
    summary: 'list paired devices, let one in, rename it, or end it at once',
    details: [
      'list [--json]              all devices, with the code that one that waits shows too',
      'approve ID [--sub NAME]    let one in; by default as the person who made its pairing link',
      'rename ID NAME             give one another name',
      'revoke ID                  end one: its connections are cut, and it must be paired again',
      'An ID may be shortened as long as it is the only one that begins so.',
      'Asks the running link at LINK_OWNER_SOCKET.',
      LINK_EXITS,
    ],
  },
  remote: {
    usage: 'remote [LINK]',
    summary:
      'on another machine: open a terminal of the workspace, or send it a request, through the relay',
    details: [
      'LINK            pair this machine by a link of "workspace-gateway pair", and open a terminal; "-" asks for the link',
      '  --name NAME   what the owner’s list calls this machine; by default its host name',
      '  --replace     in place of the workspace that this machine is paired with',
      'Without a link it opens a terminal of the workspace that it is paired with. Enter, "~" and "." leave it.',
      'request [METHOD] PATH    print an answer, for a script',
      "  --data TEXT            the body; the method is POST then; --header 'NAME: VALUE': repeated for several",
      '  --code CODE            of the authenticator app, for a route that wants a second factor; -i: print the head too',
      'forget          delete the pairing here; "workspace-gateway devices revoke" does it in the workspace',
      'The pairing is kept in $XDG_CONFIG_HOME/workspace-gateway/remote.json, else below ~/.config.',
      'Ends with 0, 1 when it was refused, 69 when the relay or the workspace cannot be reached, 78 for a pairing that cannot be used.',
    ],
  },
  version: {
    usage: 'version',
    summary: 'print the release of this program (also --version, -v)',
    details: [],
  },
  help: {
    usage: 'help [COMMAND]',
    summary: 'print this text (also --help, -h), or more about a command (also COMMAND --help)',
    details: [],
  },
} as const satisfies Record<string, Command>

/** The name of a command. */
export type CommandName = keyof typeof COMMANDS

/** Other names of commands. */
const ALIASES: Readonly<Record<string, CommandName>> = {
  '--version': 'version',
  '-v': 'version',
  '--help': 'help',
  '-h': 'help',
}

/** The command with this name or alias; undefined when there is none. */
export function commandNamed(text: string): CommandName | undefined {
  if (Object.hasOwn(COMMANDS, text)) return text as CommandName
  return Object.hasOwn(ALIASES, text) ? ALIASES[text] : undefined
}

/** The error message for an unknown command. */
export function unknownCommand(text: string): string {
  // At most 2 changes, because more can turn a short word into any other.
  const nearest = nearestName(text, [...Object.keys(COMMANDS), ...Object.keys(ALIASES)], 2)
  return `unknown command ${JSON.stringify(text)}${nearest === undefined ? '' : `; did you mean ${nearest}?`}`
}

/** The text of `workspace-gateway help COMMAND`. */
export function commandHelp(name: CommandName): string {
  const { usage, summary, details }: Command = COMMANDS[name]
  const lines = [
    `workspace-gateway ${usage}`,
    `  ${summary}`,
    ...(details.length === 0 ? [] : ['', ...details.map((line) => `  ${line}`)]),
  ]
  return `${lines.join('\n')}\n`
}

const USAGE_WIDTH = Math.max(...Object.values<Command>(COMMANDS).map(({ usage }) => usage.length))

const COMMAND_LINES = Object.values<Command>(COMMANDS)
  .map(({ usage, summary }) => `  workspace-gateway ${usage.padEnd(USAGE_WIDTH)}  ${summary}`)
  .join('\n')

/** The text of `workspace-gateway help`. */
export function helpText(): string {
  return `workspace-gateway ${VERSION}: the door of a cloud workspace

Usage
${COMMAND_LINES}

Exit codes
  0 stopped   1 failed   64 wrong usage   69 address taken or already running   78 wrong configuration

Settings (environment variables; a secret can also be given as a file with …_FILE)
${settingsText(SETTINGS)}

Settings of the keeper of terminals
${settingsText(TERMINALS_SETTINGS)}

Settings of the vault
${settingsText(VAULT_SETTINGS)}

Settings of the relay
${settingsText(RELAY_SETTINGS)}

Settings of the link
${settingsText(LINK_SETTINGS)}

Settings of the limits service
${settingsText(LIMITS_SETTINGS)}
`
}

function settingsText(settings: Readonly<Record<string, Setting<unknown>>>): string {
  return Object.values(settings).map(describe).join('\n')
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
