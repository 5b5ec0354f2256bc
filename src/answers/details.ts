/**
 * Which sentence in an error response tells the client what was wrong and what to do? One of the fixed texts here. The exact
 * cause is only in the log, as `reason`.
 */
import type { ErrorCode } from './errors.ts'

/**
 * The default `detail` of each error code. It never contains a host, port, path, library text, or any part of the request.
 */
export const DETAILS: Readonly<Record<ErrorCode, string>> = {
  'bad-request':
    'The message breaks a rule of HTTP, or says two things at once. If a link or a form brought you here, go back and try again; reloading also clears a damaged session.',
  'bad-target': 'The address breaks a rule. Check it for stray characters.',
  'token-in-url':
    'An API token stands in the address, where it is logged on the way. Send it in the Authorization field, and replace it: whoever has read the address can use it.',
  'sign-in-required': 'Sign in, or send a token of this workspace as a Bearer token.',
  'token-invalid':
    'The token is not valid for this workspace; copy the whole token again, or get a new one.',
  'token-expired': 'The session has expired. Sign in again with a new token.',
  'ticket-used':
    'A sign-in link works once, and this one was used before. Sign in again with a new one.',
  'step-up-required':
    'This needs a person whose sign-in is not older than 10 minutes, and no API token. Sign out, sign in again, and repeat it.',
  'sensitive-file': 'Files that hold secrets are not reachable through this door, for anyone.',
  'origin-not-allowed':
    'The page that sent this request does not belong to this workspace. Open the workspace itself and try there.',
  'scope-missing':
    'The token has no scope for this route and method. Make one that has, or use another.',
  'address-not-allowed':
    'The token is allowed from other addresses only. Use it from there, or make another.',
  'other-subject': 'Renew with a token of the same person, or sign out first.',
  'not-found': 'Check the address.',
  'method-not-allowed':
    'This address takes other methods, which the Allow field names. In a browser, go back and use the button or form there.',
  'request-timeout': 'The request came too slowly. Send it again.',
  'body-too-large': 'A sign-in form takes 16 KiB at most, the JSON of an owner 64 KiB. Send less.',
  'expectation-failed': 'Leave the Expect field out, or send 100-continue.',
  'host-not-served': 'Check the name in the address bar.',
  'upgrade-required': 'Send the handshake with Sec-WebSocket-Version: 13.',
  'rate-limited': 'Wait, then try again.',
  'headers-too-large':
    'At most 16 KiB and 100 header fields are taken. Send less; in a browser, clear the cookies of this site.',
  'internal-error': 'Try again. If it happens again, tell the operator the request id.',
  'upstream-unreachable': 'The service may still be starting. Try again in a few seconds.',
  draining: 'The workspace will be back in a few seconds. Try again then.',
  'upstream-busy': 'Try again in a few seconds.',
  'too-many-terminals': 'Close a terminal that you do not need, then try again.',
  'state-unavailable':
    'Nothing was changed. Try again in a few seconds; if it happens again, the disk of the workspace may be full.',
  'vault-unavailable': 'Try again in a few seconds.',
  'link-unavailable': 'Try again in a few seconds.',
  'upstream-timeout': 'Try again later.',
}

/** The `detail` of a bad request target, by the rule that it breaks. The keys are the `reason` texts in the log. */
export const TARGET_DETAILS = {
  'not in origin form': 'The address must begin with a slash. Send the path, not a whole URL.',
  'has a character that must be escaped':
    'The address has a character that must be percent-encoded. Encode it.',
  'has a fragment':
    'The address has a fragment, which is not sent to a server. Leave out # and what follows.',
  'has a bad escape or invalid UTF-8':
    'The address has a broken percent-escape, or one that is not UTF-8. Encode it again.',
  'is another route when decoded':
    'The address belongs to another service once it is decoded. Write its first segment without percent-escapes.',
  'starts with a double slash': 'The path begins with two slashes. Leave one out.',
  'has a backslash': 'The path has a backslash, plain or encoded. Leave it out.',
  'has a control character': 'The path has a control character. Leave it out.',
  'has a dot segment': 'The path has a dot segment. Write the path without . and .. segments.',
}

/** A rule that a request target can break. */
export type TargetProblem = keyof typeof TARGET_DETAILS

/** The failure of a service, as the predicate of a sentence that begins with the service's name. */
const SERVICE_FAILURES: Partial<Record<ErrorCode, string>> = {
  'upstream-unreachable': 'does not answer. It may still be starting.',
  'upstream-busy': 'has too many requests under way.',
  'upstream-timeout': 'took too long to answer.',
}

/**
 * The `detail` of a service failure; undefined for a code that is not about a service.
 * @param service the service's name in a sentence, such as `The dashboard`
 */
export function serviceDetail(
  code: ErrorCode,
  service: `The ${string}`,
  seconds: number | undefined,
): string | undefined {
  const failure = SERVICE_FAILURES[code]
  if (failure === undefined) return undefined
  const retry = seconds === undefined ? '' : ` Try again in ${inSeconds(seconds)}.`
  return `${service} ${failure}${retry}`
}

/** The `detail` when a rate limit is reached. */
export function waitDetail(seconds: number): string {
  return `The limit of requests is reached. Wait ${inSeconds(seconds)}, then try again.`
}

/** The `detail` of a token that is valid, but too long for a browser's cookie. */
export const COOKIE_TOO_LONG_DETAIL =
  'This token is too long: with its attributes, a cookie of more than 4,096 bytes is dropped by browsers. Get a token with fewer claims, or send it as a Bearer token.'

/** The `detail` of a long body without `Content-Length`, for a service that cannot read chunked bodies. */
export const LENGTH_WANTED_DETAIL =
  'This service takes a body of more than 16 KiB only with a Content-Length. Send one.'

/** The `detail` of a sign-in or a renewal whose token has expired, such as a link that was opened too late. */
export const TICKET_EXPIRED_DETAIL =
  'This sign-in link, or this token, has expired. Sign in with a new one.'

/** The `detail` of a form or JSON body, for a sign-in or a renewal, with no token or several. */
export const ONE_TOKEN_DETAIL = 'Send the form again with exactly one token in it.'

/** The `detail` of a renewal without a session of a browser. */
export const RENEW_COOKIE_DETAIL =
  'Only the session in the cookie of a browser can be renewed. Sign in with the token instead.'

/** The `detail` when a route wants a second factor. */
export const STEP_UP_DETAIL =
  'This part of the workspace wants a second factor that was shown lately. Open it in a browser to show one, or use an API token that was made for it.'

/**
 * What a person reads whom GATEWAY_STEP_UP_URL has sent back without what a route wants.
 * @param methods the values of `amr` that would do
 */
export function noStepUpDetail(methods: readonly string[], maxAgeSeconds: number): string {
  const wanted = methods.length === 0 ? 'one' : `one (amr: ${methods.join(' or ')})`
  return `You were sent to show a second factor, and your login service has not said that you showed ${wanted} in the last ${inWords(maxAgeSeconds)}.`
}

/** The `detail` when a second factor is set up or shown where none can be. */
export const NO_FACTOR_HERE_DETAIL =
  'Second factors are shown in a browser that has signed in here, and only where the gateway keeps them.'

/** What a person reads who has sent a form twice, or long after the page was shown. */
export const FORM_SENT_DETAIL =
  'This form was sent before, or the page is more than an hour old. Nothing was done now. Look below, and send it again if it is missing.'

/** What a person reads whose form says nothing that can be done. */
export const UNKNOWN_ACT_DETAIL = 'The form was not complete. Nothing was done. Try again.'

/** What a person reads who asked for a token and did not say for what. */
export const NO_SCOPE_DETAIL = 'Say what the token may use: choose one at least.'

/** What a person reads who has second factors, and none that works where they are. */
export const NO_FACTOR_WORKS_DETAIL =
  'None of your second factors works at this address. A passkey belongs to the host name at which it was made: open the workspace there.'

/** What a person reads about the state of the workspace, when it is not as it should be. */
export const STATE_DETAILS = {
  damaged:
    'The state of the workspace was damaged, and a new one was begun: API tokens are gone. On the machine, “workspace-gateway doctor” says what to do.',
  unsaved:
    'Not everything could be written to the disk of the workspace yet; it may be full. The workspace keeps trying.',
  unavailable:
    'The state folder of the workspace cannot be used: nothing that is changed here lasts. On the machine, “workspace-gateway doctor” says why.',
} as const

/** The `detail` of an owner's act without the factor that it wants. */
export const FACTOR_WANTED_DETAIL =
  'This act wants a second factor, for this time alone. Send it again with one: in JSON, the member factor holds a code or a passkey.'

/** What a person reads whose second factor was refused, or not set up, by the reason in the log. */
export const FACTOR_DETAILS = {
  'not-enrolled': 'There is no factor of this kind. Use another one.',
  'malformed-code':
    'That is no code. The app shows six digits; a backup code has sixteen letters and digits.',
  'wrong-code': 'The code is wrong. Type the one that the app shows now.',
  'code-used': 'That code was used before. Wait for the next one.',
  locked:
    'Too many codes were wrong, so codes of the app are not taken for a while. A passkey or a backup code works meanwhile.',
  'clock-behind':
    'The clock of the workspace is behind, so codes of the app are not taken. A passkey or a backup code works.',
  'factor-key-missing':
    'The key that protects this factor is not configured any more, so it cannot be checked. A passkey works; the owner of the machine can bring the key back, or reset the factor.',
  'factor-unreadable':
    'This factor cannot be read. A passkey may work; the owner of the machine can reset the factors.',
  'challenge-gone': 'That took too long, or was sent twice. Try once more.',
  'passkey-unknown': 'This passkey is not registered here. Use another one.',
  'passkey-invalid': 'The passkey did not answer as it should. Try again, or use another factor.',
  'counter-fell':
    'This passkey seems to have been copied, so it is not taken. Use another factor, and remove this one.',
  'factor-needed': 'You have a second factor, so adding or changing one needs it to be shown.',
  'enrolment-gone': 'Setting this up took too long, or too many codes were wrong. Begin again.',
  'passkey-known': 'This passkey is registered already.',
  'too-many-passkeys': 'There are 20 passkeys. Remove one first.',
} as const

/** What does not work with a person's second factors, and what to do, by what is the matter. */
export const FACTOR_PROBLEM_DETAILS = {
  lost: 'Your second factors cannot be read, or were lost with a damaged state, so none is taken, and none can be set up. On the machine, “workspace-gateway state restore” brings them back from a backup; “workspace-gateway second-factor reset” begins anew and ends your sessions.',
  'factor-key-missing':
    'The app or the backup codes cannot be checked, because the signing key that protects them is not configured any more. A passkey works. The owner of the machine can bring the key back, or reset your second factors.',
  'factor-unreadable':
    'The app or the backup codes cannot be read. A passkey works. The owner of the machine can reset your second factors.',
  'clock-behind':
    'The clock of the workspace is behind, so codes of the app are not taken. A passkey or a backup code works, and ends this.',
  locked: FACTOR_DETAILS.locked,
  'counter-fell':
    'A passkey counted less than before, as a copy of it does. Remove it, unless you know why.',
  'no-backup-codes': 'There are no backup codes left. Make new ones.',
} as const

/** The `detail` of a WebSocket handshake on a route without WebSockets. */
export const NO_WEBSOCKET_DETAIL = 'There are no WebSockets at this address. Send a plain request.'

/** The `detail` of a WebSocket handshake on the terminal's route that does not ask for ttyd's path and subprotocol. */
export const TERMINAL_WEBSOCKET_DETAIL =
  'The terminal has one WebSocket, and it speaks the subprotocol tty. Open it from the page of the terminal.'

/** The `detail` when a session has too many WebSockets open. */
export const TOO_MANY_SOCKETS_DETAIL =
  'Too many WebSockets are open. Close a tab of the terminal or the agent, then try again.'

/** The `detail` when an owner asks for terminals and the keeper of terminals does not answer. */
export const KEEPER_AWAY_DETAIL =
  'The keeper of terminals does not answer. Its log says why; start it when it does not run.'

/** The `detail` when an owner asks for the vault and it does not answer. */
export const VAULT_AWAY_DETAIL =
  'The vault does not answer. Its log says why; start it when it does not run, and look at GATEWAY_VAULT_SOCKETS.'

/** The `detail` when an owner asks for devices and the link does not answer. */
export const LINK_AWAY_DETAIL =
  'The link does not answer. Its log says why; start it when it does not run, and look at GATEWAY_LINK_OWNER_SOCKET.'

/** The `detail` when the link refuses what an owner wants. @param sentence the link's own, which begins with a small letter */
export function linkRefusalDetail(sentence: string): string {
  return `The link refuses this: ${sentence}.`
}

/** The `detail` when the vault refuses what an owner wants. @param sentence the vault's own, which begins with a small letter */
export function vaultRefusalDetail(sentence: string): string {
  return `The vault refuses this: ${sentence}.`
}

/** The `detail` when an API token cannot be made as it was asked for, by what is wrong. The keys are the `reason` texts. */
export const API_TOKEN_DETAILS = {
  'bad name':
    'The name of a token takes a to z, 0 to 9 and hyphens, 64 at most, and begins with a letter or a digit.',
  'name is taken':
    'A token of this name is in force. Choose another name, revoke that token, or rotate it.',
  'bad subject':
    'The person or program that a token speaks for takes 1 to 256 characters, none a control.',
  'bad scope':
    'A scope is a route (api, dashboard, chat, terminal, owner, vault, code), then :read for reading alone, then :/path for a part of a service, as in api:read:/v1/models.',
  'bad address': 'A token is allowed from addresses and CIDRs, 32 at most, such as 203.0.113.0/24.',
  'bad rate': 'A rate is a whole number of requests a minute, 1 to 100,000.',
  'bad expiry': 'A token must end later than now and before the year 10000.',
  'bad overlap': 'The overlap of a rotation is a time of zero or more, such as 24h.',
  'too many tokens': 'There are 10,000 tokens in force. Revoke some that are not used.',
  'not in force': 'The token has expired, was revoked or was replaced, so it cannot be rotated.',
} as const

/** The `detail` when an owner's action is refused. The keys are the `reason` texts in the log. */
export const OWNER_DETAILS = {
  'not an owner':
    'Only an owner of this workspace (GATEWAY_OWNERS) may see or change more than their own session.',
  'not for programs':
    'This takes the session of a browser, or an API token with the scope owner. The workspace token of a program may see and end its own session and terminals only.',
  'not for devices':
    'A paired device ends its own session only. Sign out everywhere in a browser, or on the machine.',
  'for the machine': 'Only a command on the machine of the workspace does this.',
  'not JSON': 'The body is JSON, and the Content-Type says so.',
  'no such session':
    'No session has this id: it has ended, or it is an API token, which is revoked instead.',
  'no such terminal':
    'No terminal has this id, which must be whole: it has ended, nobody keeps it, or it belongs to somebody else.',
  'no such token': 'No API token has this id, and none in force has this name.',
  'only for a person': 'This is for a person with the session of a browser.',
  'no factors here': 'Second factors are not kept here (GATEWAY_SECOND_FACTOR).',
  'no passkeys at an address':
    'A passkey belongs to a host name. Open the workspace by its name instead of its address, or set up an authenticator app.',
  'one factor': 'The member factor has one member: code, a text, or passkey, an object.',
  'no such factor': 'No second factor of yours has this id.',
  'no factor yet':
    'Backup codes come with an authenticator app or a passkey, and stand in for it. Set one up first.',
  'too many passkeys': 'There are 20 passkeys. Remove one first.',
  'no such act': 'The member act takes the name of an act that wants a second factor.',
  'no password here':
    'The password of the terminal is not kept in the state folder, so it cannot be shown.',
  'no such entry': 'The vault has no entry of this name.',
  'no such device': 'No paired device has this id.',
  'device is approved':
    'This device is let in already. Revoke it, and pair it again for somebody else.',
  'no link here': 'This gateway knows of no link (GATEWAY_LINK_OWNER_SOCKET).',
  'no vault here': 'This gateway knows of no vault (GATEWAY_VAULT_SOCKETS).',
  'which sessions':
    'One member says which sessions end: sub with a name, others (true) for the other ones of the person who asks, or all (true).',
  'not for oneself':
    'The member sub is for the machine. A token that a person makes, or a device that they let in, speaks for that person.',
} as const

/** The `detail` of a body that is no JSON object, or has a member that the action does not take. */
export function membersDetail(names: readonly string[]): string {
  return `The body is a JSON object, with no other members than these: ${names.join(', ')}.`
}

/** The `detail` of a member with a wrong value. @param takes such as `a text` */
export function memberDetail(name: string, takes: string): string {
  return `The member ${name} takes ${takes}.`
}

/** A time as people say it, such as `12 hours`. */
export function inWords(seconds: number): string {
  for (const [unit, length] of [
    ['hours', 3600],
    ['minutes', 60],
  ] as const)
    if (seconds % length === 0 && seconds > length) return `${seconds / length} ${unit}`
  return inSeconds(seconds)
}

/** A number of seconds as text, such as `1 second`. */
export function inSeconds(seconds: number): string {
  return seconds === 1 ? '1 second' : `${seconds} seconds`
}

/** For the remote page of a gateway whose build has left it out, or that runs from its sources. */
export const NO_REMOTE_PAGE_DETAIL =
  'This gateway was installed without the files of the remote page: the build writes them to the folder remote beside the program. Or set LINK_PAGE_URL to a server that has the page.'
