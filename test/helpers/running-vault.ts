/** How does a test run the real vault? As a child process with a folder of its own, asked at its doors as an owner and an agent would. */
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import type { Test } from 'tap'
import type { AuditRow } from '../../src/vault/audit/audit-line.ts'
import { agentSocket, auditPathOf, ownerSocket } from '../../src/vault/protocol.ts'
import { runBare, temporaryFolder, type Program } from './process.ts'
import { ask, leaseAt, type DoorAnswer } from './vault-doors.ts'
import { CREDENTIAL } from './vault-entry.ts'

/** The master key of a vault that runs, as its setting has it. */
export const MASTER_KEY_TEXT = Buffer.from(Array.from({ length: 32 }, (_, i) => i + 1)).toString(
  'base64',
)

/** A vault that runs, with the agents coder and ops. */
export interface RunningVault {
  readonly program: Program
  /** The settings that it was started with, for another start. */
  readonly env: Record<string, string>
  readonly owner: string
  readonly coder: string
  readonly ops: string
  /** Asks as the owner. Fails unless the answer is a success. */
  readonly command: (path: string, body?: object) => Promise<DoorAnswer>
  /** Adds the entry `github`, which leads to a loopback service and is granted to coder. */
  readonly add: (origin: string, body?: object) => Promise<void>
  /** A lease of coder. */
  readonly lease: (body?: object) => Promise<string>
  /** The rows of the audit log, as they are on the disk. */
  readonly rows: () => readonly AuditRow[]
}

/** Starts the vault, and waits until its doors are open. */
export async function startRunningVault(
  t: Test,
  settings: Record<string, string> = {},
  start: (env: Record<string, string>) => Program = (env) => runBare(t, ['vault'], env),
): Promise<RunningVault> {
  const folder = settings['VAULT_STATE_DIR'] ?? temporaryFolder(t)
  const env = {
    VAULT_FILE: join(folder, 'data', '.vault.enc'),
    VAULT_STATE_DIR: join(folder, 'data'),
    VAULT_SOCKETS: join(folder, 'sockets'),
    VAULT_AGENTS: 'coder:4001,ops:4002',
    VAULT_MASTER_KEY: MASTER_KEY_TEXT,
    ...settings,
  }
  const program = start(env)
  await program.logged('keeping the vault')
  const owner = ownerSocket(env.VAULT_SOCKETS)
  const coder = agentSocket(env.VAULT_SOCKETS, 'coder')
  const command = async (path: string, body?: object) => {
    const answer = await ask(owner, {
      path,
      ...(body === undefined ? {} : { method: 'POST', body }),
    })
    if (answer.status >= 300) throw new Error(answer.text)
    return answer
  }
  return {
    ...{ program, env, owner, coder, command },
    ops: agentSocket(env.VAULT_SOCKETS, 'ops'),
    add: async (origin, body = {}) => {
      await command('/v1/entries', {
        ...{ service: 'github', value: CREDENTIAL, origin, allow_private: true },
        ...{ methods: ['GET', 'HEAD', 'POST'], paths: ['/'], grants: ['coder'] },
        ...body,
      })
    },
    lease: (body = {}) => leaseAt(coder, body),
    rows: () =>
      linesOf(auditPathOf(env.VAULT_STATE_DIR)).map((line) => JSON.parse(line) as AuditRow),
  }
}

/** The contents of every file below a folder, as one text with one character per byte. */
export function everythingIn(folder: string): string {
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .map((name) => join(folder, name))
    .filter((path) => statSync(path).isFile())
  return files.map((path) => readFileSync(path, 'latin1')).join('\n')
}

/** Connects to a Unix socket. Errors are ignored, because tests wait for `close`. */
export function openSocket(path: string): Socket {
  const socket = connect(path)
  socket.on('error', () => socket.destroy())
  return socket
}

function linesOf(path: string): string[] {
  return readFileSync(path, 'utf8').split('\n').slice(0, -1)
}
