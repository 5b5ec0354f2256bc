/**
 * What may an owner do with the sessions, keys, API tokens, second factors, vault and devices of a workspace? One table of actions. The admin socket
 * (routes.ts), the JSON API (routes/api.ts) and the commands are made from it, so that all of them offer the same.
 */
import { keysReport } from '../identity/key-report.ts'
import type { LiveParts, OwnerAction, StateParts } from './action.ts'
import {
  createToken,
  listTokens,
  revokeLeaked,
  revokeToken,
  rotateToken,
} from './api-token-actions.ts'
import {
  approveDevice,
  listDevices,
  offerDevice,
  renameDevice,
  revokeDevice,
} from './device-actions.ts'
import { membersOf, ownerRefusal, textIn } from './members.ts'
import {
  beginApp,
  beginPasskey,
  challengeFor,
  confirmApp,
  confirmPasskey,
  newBackupCodes,
  removeFactor,
  showOwnFactors,
} from './own-factor-actions.ts'
import { listRefusals } from './refusals.ts'
import { listFactors, resetFactors, unlockFactors } from './second-factor-actions.ts'
import { endMany, endOne, listSessions, ownSession } from './session-actions.ts'
import { grantAgent, listVault, revokeAgent } from './vault-actions.ts'
import { endTerminal, listTerminals, showTerminalPassword } from './terminal-actions.ts'

/** The actions on what the state file holds. Commands can do them without a gateway too. */
export const STATE_ACTIONS = {
  'list-sessions': {
    method: 'GET',
    path: '/sessions',
    who: 'owner',
    isAct: false,
    run: (parts, { limit }, caller) => ({
      answer: { sessions: listSessions(parts, caller, limit) },
    }),
  },
  'end-session': {
    method: 'DELETE',
    path: '/sessions/:id',
    who: 'owner',
    isAct: false,
    run: ({ sessions }, { id }) => endOne(sessions, id, 'revoked'),
  },
  'end-sessions': {
    method: 'POST',
    path: '/sessions/end',
    who: 'owner',
    isAct: false,
    run: ({ sessions }, { body }, caller) => endMany(sessions, body, caller),
  },
  'list-api-tokens': {
    method: 'GET',
    path: '/api-tokens',
    who: 'owner',
    isAct: false,
    run: listTokens,
  },
  'create-api-token': {
    method: 'POST',
    path: '/api-tokens',
    who: 'owner',
    isAct: true,
    prepare: createToken,
  },
  'revoke-api-token': {
    method: 'DELETE',
    path: '/api-tokens/:id',
    who: 'owner',
    isAct: false,
    run: revokeToken,
  },
  'rotate-api-token': {
    method: 'POST',
    path: '/api-tokens/:id/rotate',
    who: 'owner',
    isAct: true,
    prepare: rotateToken,
  },
  'revoke-leaked-api-tokens': {
    method: 'POST',
    path: '/leaked-api-tokens',
    who: 'owner',
    isAct: false,
    run: revokeLeaked,
  },
  'list-second-factors': {
    method: 'GET',
    path: '/second-factors',
    who: 'owner',
    isAct: false,
    run: listFactors,
  },
  'reset-second-factor': {
    method: 'POST',
    path: '/second-factors/reset',
    who: 'machine',
    isAct: false,
    run: resetFactors,
  },
  'unlock-second-factor': {
    method: 'POST',
    path: '/second-factors/unlock',
    who: 'machine',
    isAct: false,
    run: unlockFactors,
  },
} as const satisfies Record<string, OwnerAction<StateParts>>

/** The actions that ask a running gateway about itself, or about the caller's own session. */
const LIVE_ACTIONS = {
  'show-session': {
    method: 'GET',
    path: '/session',
    who: 'self',
    isAct: false,
    run: (parts, _input, caller) => ({ answer: ownSession(parts, caller) }),
  },
  'end-own-session': {
    method: 'DELETE',
    path: '/session',
    who: 'self',
    isAct: false,
    run: ({ sessions }, _input, { principal }) =>
      endOne(sessions, principal?.session.id ?? '', 'signed-out'),
  },
  'list-terminals': {
    method: 'GET',
    path: '/terminals',
    who: 'self',
    isAct: false,
    run: async (parts, _input, caller) => ({ answer: await listTerminals(parts, caller) }),
  },
  'end-terminal': {
    method: 'DELETE',
    path: '/terminals/:id',
    who: 'self',
    isAct: false,
    run: async (parts, { id }, caller) => endTerminal(parts, id, caller),
  },
  'list-keys': {
    method: 'GET',
    path: '/keys',
    who: 'owner',
    isAct: false,
    run: ({ keys, sessions }) => ({ answer: { keys: keysReport(keys, sessions) } }),
  },
  'show-status': {
    method: 'GET',
    path: '/status',
    who: 'owner',
    isAct: false,
    run: async ({ status }) => ({ answer: await status() }),
  },
  'show-second-factors': {
    method: 'GET',
    path: '/second-factor',
    who: 'self',
    isAct: false,
    run: (parts, _input, caller) => showOwnFactors(parts, caller),
  },
  'challenge-second-factor': {
    method: 'POST',
    path: '/second-factor/challenge',
    who: 'self',
    isAct: false,
    run: (parts, { body }, caller) => challengeFor(parts, actIn(body), caller),
  },
  'begin-app': {
    method: 'POST',
    path: '/second-factor/app',
    who: 'self',
    isAct: true,
    prepare: (parts, _input, caller) => beginApp(parts, caller),
  },
  'confirm-app': {
    method: 'POST',
    path: '/second-factor/app/confirm',
    who: 'self',
    isAct: false,
    run: confirmApp,
  },
  'begin-passkey': {
    method: 'POST',
    path: '/second-factor/passkey',
    who: 'self',
    isAct: true,
    prepare: (parts, _input, caller) => beginPasskey(parts, caller),
  },
  'confirm-passkey': {
    method: 'POST',
    path: '/second-factor/passkey/confirm',
    who: 'self',
    isAct: false,
    run: confirmPasskey,
  },
  'new-backup-codes': {
    method: 'POST',
    path: '/second-factor/backup-codes',
    who: 'self',
    isAct: true,
    prepare: (parts, _input, caller) => newBackupCodes(parts, caller),
  },
  'remove-second-factor': {
    method: 'DELETE',
    path: '/second-factor/:id',
    who: 'self',
    isAct: true,
    prepare: removeFactor,
  },
  'show-terminal-password': {
    method: 'POST',
    path: '/terminal-password',
    who: 'owner',
    isAct: true,
    prepare: showTerminalPassword,
  },
  'list-vault': {
    method: 'GET',
    path: '/vault',
    who: 'owner',
    isAct: false,
    run: listVault,
  },
  'grant-vault': {
    method: 'POST',
    path: '/vault/:id/grants',
    who: 'owner',
    isAct: true,
    prepare: grantAgent,
  },
  'revoke-vault-grant': {
    method: 'DELETE',
    path: '/vault/:id/grants/:agent',
    who: 'owner',
    isAct: false,
    run: revokeAgent,
  },
  'list-devices': {
    method: 'GET',
    path: '/devices',
    who: 'owner',
    isAct: false,
    run: listDevices,
  },
  'offer-device': {
    method: 'POST',
    path: '/device-offers',
    who: 'owner',
    isAct: true,
    prepare: offerDevice,
  },
  'approve-device': {
    method: 'POST',
    path: '/devices/:id/approve',
    who: 'owner',
    isAct: true,
    prepare: approveDevice,
  },
  'rename-device': {
    method: 'POST',
    path: '/devices/:id/rename',
    who: 'owner',
    isAct: false,
    run: renameDevice,
  },
  'revoke-device': {
    method: 'DELETE',
    path: '/devices/:id',
    who: 'owner',
    isAct: false,
    run: revokeDevice,
  },
  'list-refusals': {
    method: 'GET',
    path: '/refusals',
    who: 'owner',
    isAct: false,
    run: listRefusals,
  },
} as const satisfies Record<string, OwnerAction<LiveParts>>

/** Every action, by the name that the log has. */
export const OWNER_ACTIONS = { ...LIVE_ACTIONS, ...STATE_ACTIONS }

/** The name of an act. @throws {GatewayError} `bad-request` for anything else, which would only fill the memory */
function actIn(body: unknown): string {
  const name = textIn(membersOf(body, ['act']).act, 'act')
  const actions: Readonly<Record<string, OwnerAction<LiveParts>>> = OWNER_ACTIONS
  if (Object.hasOwn(actions, name) && actions[name]?.isAct === true) return name
  throw ownerRefusal('bad-request', 'no such act')
}

/** The name of an action that a command can do without a gateway too. */
export type StateActionName = keyof typeof STATE_ACTIONS

/** The name of an action. */
export type ActionName = keyof typeof OWNER_ACTIONS
