/** Why was a second factor refused, and what can the machine's owner do? For `explain` and `second-factor list`, never for a client. */
import type { FactorRefusal } from './verdicts.ts'

/** What to do about factors that may have been lost, as half a sentence. */
export const LOST_ADVICE =
  '"workspace-gateway state restore FILE" brings them back from a backup; "workspace-gateway second-factor reset --sub NAME" has one person set up new ones'

/** What each reason means, and the remedy, as half a sentence. */
export const FACTOR_ADVICE: Readonly<Record<FactorRefusal, string>> = {
  'not-enrolled': 'they have no factor of this kind: "workspace-gateway second-factor list"',
  'malformed-code': 'neither the six digits of an app nor a backup code',
  'wrong-code':
    'no code of theirs; if it was the one that their app shows, the clock of this machine or of their device is wrong',
  'code-used': 'it counted before, and each counts once; the next one will do',
  locked:
    'too many of their codes were wrong: "workspace-gateway second-factor list" says until when they are locked. A passkey or a backup code works meanwhile, and "second-factor unlock --sub NAME" ends it. If it was not they, somebody has a session of theirs: "workspace-gateway sessions list"',
  'clock-behind':
    'a code of their app was used that lies in the future, so the clock was or is wrong; set it right, then a passkey, a backup code or "workspace-gateway second-factor unlock --sub NAME" unlocks them',
  'factor-key-missing':
    'the signing secret under which their app and backup codes are encrypted is not configured; add it to GATEWAY_JWT_PREVIOUS_SECRETS and start again, or "workspace-gateway second-factor reset --sub NAME". A passkey works meanwhile',
  'factor-unreadable':
    'their factor was changed in the state file, or was lost with it; "workspace-gateway state restore FILE" brings it back from a backup, or "workspace-gateway second-factor reset --sub NAME" has them set up a new one',
  'challenge-gone':
    'the page was older than 5 minutes, was sent twice, or came from before a restart; they can try again',
  'passkey-unknown': 'it is not registered here for this host name',
  'passkey-invalid':
    'its answer was not for this page, was not signed by it, or nobody was verified at the device',
  'counter-fell':
    'it counted less than before, so there is a copy of it; remove it, with "workspace-gateway second-factor reset --sub NAME" if need be',
  'factor-needed': 'who has a factor adds another one by showing it',
  'enrolment-gone':
    'it was begun too long ago, in another session, or before a restart, or too many codes were wrong; they can begin again',
  'passkey-known': 'somebody has registered it before',
  'too-many-passkeys': 'they have 20 and can remove one',
}
