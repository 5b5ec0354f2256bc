/** What are the limits? They are repeated here as numbers, because a test that imports a limit passes with any value. */
import { readFileSync } from 'node:fs'
import t from 'tap'
import { startWorkspace } from './helpers/gateway.ts'
import { send } from './helpers/wire.ts'

/** A constant in a file, and its required value. */
const LIMITS: ReadonlyArray<readonly [file: string, name: string, value: number]> = [
  ['src/rules/message.ts', 'MAX_HEADER_FIELDS', 100],
  ['src/http/server.ts', 'MAX_CONNECTIONS', 10_000],
  ['src/limits/peer-connections.ts', 'MAX_CONNECTIONS_PER_PEER', 256],
  ['src/terminals/safari-password.ts', 'LENDING_MS', 5 * 60 * 1000],
  ['src/terminals/safari-password.ts', 'REMEMBERED_SESSIONS', 1000],
  ['src/terminals/safari-password.ts', 'MAX_LENGTH', 1024],
  ['src/identity/token.ts', 'MAX_TOKEN_LENGTH', 4096],
  ['src/rules/subject.ts', 'MAX_SUBJECT_LENGTH', 256],
  ['src/identity/token.ts', 'MAX_ISSUED_AHEAD_SECONDS', 300],
  ['src/identity/verifier.ts', 'REMEMBERED_TOKENS', 10_000],
  ['src/identity/token.ts', 'LAST_DATE', 253_402_300_799],
  ['src/config/values.ts', 'MAX_PREVIOUS_SECRETS', 3],
  ['src/identity/sessions.ts', 'MAX_SESSIONS', 10_000],
  ['src/identity/sessions.ts', 'SUPERSEDED_MS', 60_000],
  ['src/identity/sessions.ts', 'MAX_SUPERSEDED', 64],
  ['src/identity/sessions.ts', 'MAX_DEVICE_LENGTH', 256],
  ['src/identity/api-tokens.ts', 'MAX_API_TOKENS', 10_000],
  ['src/identity/api-tokens.ts', 'DEFAULT_API_TOKEN_MS', 7_776_000_000], // 90 days
  ['src/identity/api-tokens.ts', 'DEFAULT_OVERLAP_MS', 86_400_000],
  ['src/identity/api-tokens.ts', 'API_TOKEN_LENGTH', 36],
  ['src/rules/scopes.ts', 'MAX_SCOPES', 32],
  ['src/identity/second-factor/lock-out.ts', 'MAX_WRONG_CODES', 5],
  ['src/identity/second-factor/lock-out.ts', 'WRONG_CODES_MS', 900_000],
  ['src/identity/second-factor/lock-out.ts', 'MAX_WRONG_CODES_LONG', 20],
  ['src/identity/second-factor/lock-out.ts', 'WRONG_CODES_LONG_MS', 604_800_000],
  ['src/identity/second-factor/lock-out.ts', 'FIRST_LOCK_MS', 900_000],
  ['src/identity/second-factor/lock-out.ts', 'MAX_LOCK_MS', 86_400_000],
  ['src/store/removed-factors.ts', 'MAX_REMOVED', 10_000],
  ['src/identity/second-factor/backup-codes.ts', 'CODES', 10],
  ['src/identity/second-factor/backup-codes.ts', 'CODE_BYTES', 10],
  ['src/identity/second-factor/pending.ts', 'CHALLENGE_MS', 300_000],
  ['src/identity/second-factor/factors.ts', 'SET_UP_MS', 600_000],
  ['src/identity/second-factor/factors.ts', 'SET_UP_TRIES', 5],
  ['src/identity/second-factor/factors.ts', 'MAX_PASSKEYS', 20],
  ['src/identity/second-factor/pending.ts', 'PER_SESSION', 8],
  ['src/identity/second-factor/pending.ts', 'CAPACITY', 10_000],
  ['plugins/6-rate-limit.ts', 'EXPIRY_NOTICE_MS', 1_209_600_000], // 14 days
  ['src/admin/sign-in-link.ts', 'LINK_SECONDS', 600],
  ['src/answers/errors.ts', 'STEP_UP_MAX_AGE_SECONDS', 600],
  ['src/sockets/terminal-lines.ts', 'REMINDER_MS', 600_000],
  ['src/http/cookies.ts', 'SIGN_IN_COOKIE_SECONDS', 600],
  ['src/http/cookies.ts', 'MAX_COOKIE_BYTES', 4096],
  ['src/http/cookies.ts', 'MAX_AGE_SECONDS', 34_560_000],
  ['src/sockets/open-sockets.ts', 'SOCKETS_PER_SESSION', 64],
  ['src/sockets/open-sockets.ts', 'SOCKETS_PER_ADDRESS', 128],
  ['src/parts.ts', 'ADDRESS_CAPACITY', 100_000],
  ['src/parts.ts', 'SESSION_CAPACITY', 10_000],
  ['src/limits/budget.ts', 'STEPS', 600],
  ['src/limits/budget.ts', 'SHARED_CAPACITY', 10_000],
  ['src/observe/logged-path.ts', 'MAX_LOGGED_PATH', 512],
  ['src/rules/return-to.ts', 'MAX_FOREIGN_LENGTH', 1024],
  ['src/store/secret-file.ts', 'MAX_BYTES', 4096],
  ['src/process/pid-file.ts', 'MAX_PID_FILE_BYTES', 64],
  ['src/store/budgets.ts', 'MAX_BUDGETS_BYTES', 536_870_912],
  ['src/rules/host.ts', 'MAX_AUTHORITY_LENGTH', 260],
  ['src/request/own-body.ts', 'OWN_BODY_MS', 10_000],
  ['src/http/client-connection.ts', 'UNREAD_MS', 10_000],
  ['src/http/client-connection.ts', 'UNREAD_RELAYED_MS', 300_000],
  ['src/http/client-connection.ts', 'DECISION_MS', 60_000],
  ['src/http/client-connection.ts', 'LINGER_MS', 2000],
  ['src/http/client-connection.ts', 'IDLE_MS', 150_000],
  ['src/http/client-connection.ts', 'MAX_UNDER_WAY', 32],
  ['src/http/client-connection.ts', 'MAX_WAITING', 16],
  ['src/limits/password-tries.ts', 'ACCEPTED_SESSIONS', 1000],
  ['src/vault/owner-client.ts', 'ANSWER_MS', 2000],
  ['src/vault/owner-client.ts', 'MAX_ANSWER_BYTES', 4_194_304],
  ['src/services/owner-door.ts', 'MAX_SENTENCE_LENGTH', 500],
  ['src/vault/audit/accesses.ts', 'MAX_PAIRS', 500],
  ['src/vault/audit/accesses.ts', 'MAX_PATH_LENGTH', 200],
  ['routes/forms.ts', 'MAX_FORM_BYTES', 16_384],
  ['routes/api.ts', 'MAX_BODY_BYTES', 65_536],
  ['src/sockets/early-bytes.ts', 'MAX_EARLY_BYTES', 65_536],
  ['src/rules/sensitive.ts', 'DECODE_LAYERS', 3],
  ['src/sockets/dial.ts', 'HANDSHAKE_MS', 10_000],
  ['src/sockets/relay.ts', 'CLOSE_MS', 1000],
  ['src/sockets/relay.ts', 'LINE_MS', 500],
  ['src/sockets/relay.ts', 'FLUSH_MS', 5000],
  ['src/sockets/relay.ts', 'KEEP_ALIVE_MS', 30_000],
  ['src/sockets/relay.ts', 'MAX_DISCARDED_BYTES', 1_048_576],
  ['src/sockets/terminal-lines.ts', 'REMINDER_MS', 600_000],
  ['src/sockets/terminal-lines.ts', 'LAST_REMINDER_MS', 300_000],
  ['src/services/service.ts', 'CONNECT_MS', 3000],
  ['src/terminals/ask-keeper.ts', 'ANSWER_MS', 2000],
  ['src/terminals/ask-keeper.ts', 'MAX_ANSWER_BYTES', 1_048_576],
  ['src/terminals/keeper-answers.ts', 'MAX_ENTRIES', 1024],
  ['src/terminals/keeper-client.ts', 'LOOK_MS', 5000],
  ['src/terminals/keeper-client.ts', 'RETRY_MS', 1000],
  ['src/terminals/keeper-client.ts', 'COMPARE_MS', 60_000],
  ['src/terminals/keeper-client.ts', 'SETTLING_MS', 3000],
  ['src/terminals/keeper-client.ts', 'BEFORE_END_MS', 3000],
  ['src/terminals/keeper/server.ts', 'CHECK_MS', 500], // the end of a session reaches the shell within 2 s
  ['src/terminals/keeper/server.ts', 'FAREWELL_MS', 1000],
  ['src/process/run-terminals.ts', 'STOP_MS', 3000],
  ['src/terminals/keeper/plain-requests.ts', 'ANSWER_MS', 10_000],
  ['src/terminals/keeper/handshakes.ts', 'MAX_MESSAGE_BYTES', 33_554_432],
  ['src/terminals/keeper/unfinished-messages.ts', 'MAX_BYTES', 67_108_864],
  ['src/terminals/keeper/ttyd-link.ts', 'MAX_MESSAGE_BYTES', 16_777_216],
  ['src/terminals/keeper/ttyd-link.ts', 'MAX_INPUT_BYTES', 1_048_576],
  ['src/terminals/keeper/client-link.ts', 'MAX_BEHIND_BYTES', 1_048_576],
  ['src/terminals/keeper/client-link.ts', 'LATE_MS', 500], // Ctrl-C takes effect within a second
  ['src/terminals/keeper/client-link.ts', 'PING_EVERY_MS', 20_000],
  ['src/terminals/keeper/client-link.ts', 'GONE_MS', 60_000],
  ['src/terminals/keeper/client-feed.ts', 'MAX_PAUSED_BYTES', 1_048_576],
  ['src/terminals/keeper/pace.ts', 'BYTES_PER_SECOND', 8_388_608],
  ['src/terminals/keeper/transfer.ts', 'SILENT_MS', 30_000],
  ['src/terminals/keeper/transfer.ts', 'DROP_QUIET_MS', 300],
  ['src/terminals/keeper/transfer.ts', 'DROP_MS', 3000],
  ['src/relay/link/device-list.ts', 'MAX_DEVICES', 64],
  ['src/relay/link/device-list.ts', 'MAX_WAITING', 8],
  ['src/relay/link/device-list.ts', 'WAITING_MS', 3_600_000],
  ['src/relay/link/offers.ts', 'MAX_OFFERS', 8],
  ['src/relay/link/offers.ts', 'MAX_FAILURES', 5],
  ['src/relay/link/place-pace.ts', 'KNOCKS_PER_MINUTE', 30],
  ['src/relay/link/place-pace.ts', 'HANDSHAKES_PER_PLACE', 4],
  ['src/relay/link/place-pace.ts', 'REMEMBERED_KEYS', 1024],
  ['src/relay/link/link.ts', 'MAX_CHANNELS', 64],
  ['src/relay/link/link.ts', 'MAX_CHANNELS_PER_DEVICE', 8],
  ['src/relay/link/seat.ts', 'HANDSHAKE_MS', 10_000],
  ['src/relay/protocol/relay-wire.ts', 'MAX_FRAME_BYTES', 65_536],
  ['src/relay/protocol/relay-wire.ts', 'MAX_DEVICES_PER_PLACE', 32],
  ['src/relay/protocol/relay-wire.ts', 'MAX_PLACES', 256],
  ['src/relay/protocol/relay-wire.ts', 'COMPLETE_MS', 30_000],
  ['src/relay/protocol/relay-wire.ts', 'IDLE_MS', 90_000],
  ['src/relay/protocol/relay-wire.ts', 'LATE_MS', 90_000],
  ['src/relay/server/server.ts', 'MAX_CONNECTIONS', 65_536],
  ['src/relay/server/server.ts', 'MAX_DEVICES_PER_ADDRESS', 8],
  ['src/relay/server/server.ts', 'MAX_DAEMONS_PER_ADDRESS', 8],
  ['src/relay/server/server.ts', 'MAX_LONE_SEATS_PER_ADDRESS', 64],
  ['src/relay/server/server.ts', 'CHECK_MS', 1000],
  ['src/relay/server/server.ts', 'FAREWELL_MS', 1000],
  ['src/relay/server/direction.ts', 'MAX_KEPT_BYTES', 262_144],
  ['src/relay/server/direction.ts', 'PAUSE_MESSAGES', 256],
  ['src/relay/server/room.ts', 'MAX_EARLY_MESSAGES', 64],
  ['src/relay/server/control.ts', 'PACE_MS', 4],
  ['src/relay/server/shared-claims.ts', 'CLAIM_MS', 10_000],
  ['src/relay/server/shared-claims.ts', 'RENEW_MS', 3000],
  ['src/relay/server/shared-claims.ts', 'CLAIMS_PER_QUESTION', 500],
  ['src/relay/server/redis-store.ts', 'ANSWER_MS', 2000],
  ['src/process/run-relay.ts', 'STOP_MS', 5000],
  ['src/observe/refusal-sums.ts', 'SUM_MS', 1000],
  ['src/observe/refusal-sums.ts', 'CAPACITY', 1000],
  ['src/limits/memo.ts', 'CAPACITY', 2000],
  ['src/limits/waiting-room.ts', 'CAPACITY', 1024],
]

t.test('every limit has the decided value', async (t) => {
  for (const [file, name, value] of LIMITS)
    t.equal(constantOf(file, name), value, `${file} ${name}`)
})

t.test('a browser caches a preflight for ten minutes', async (t) => {
  const origin = 'https://app.example.com'
  const { port, dials } = await startWorkspace(t, { GATEWAY_ALLOWED_ORIGINS: origin })
  const asked = [`Origin: ${origin}`, 'Access-Control-Request-Method: PUT']
  t.equal((await send(port, 'OPTIONS /', asked)).headers['access-control-max-age'], '600')
  t.equal(dials(), 0)
})

/** Reads the value of a constant that is written as a product of numbers. */
function constantOf(file: string, name: string): number {
  const source = readFileSync(new URL(`../${file}`, import.meta.url), 'utf8')
  const text = new RegExp(`^(?:export )?const ${name} = ([0-9_ *]+)(?: //.*)?$`, 'm').exec(
    source,
  )?.[1]
  return (text ?? 'none')
    .replaceAll('_', '')
    .split('*')
    .reduce((product, factor) => product * Number(factor), 1)
}
