/** How does `npm start` show the vault? It runs a real one as a child process, with one agent and one entry for a made-up service. */
import { randomBytes } from 'node:crypto'
import { closeSync, existsSync, openSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import { ALIVE_MS, canConnect } from '../src/services/can-connect.ts'
import { ensureSecretFile } from '../src/store/secret-file.ts'
import { askDoor } from '../src/services/ask-door.ts'
import { agentSocket, ownerSocket, type EntryView } from '../src/vault/protocol.ts'
import { startDemoService } from './demo-service.ts'
import type { Running } from './listener.ts'
import { FIRST_FREE_DESCRIPTOR, startOwnProgram } from './own-program.ts'
import { AGENT, DEMO, type VaultPlace } from './vault-place.ts'

/** How long a vault whose parent was killed may take to end, in milliseconds. It gives itself 3000. */
const EARLIER_MS = 5000
const RETRY_MS = 50

/** Limits of a question to the owner's door. */
const ANSWER = { limitMs: 10_000, maxBytes: 1024 * 1024 }

/** Options of the vault. */
export interface WorkspaceVaultOptions {
  readonly place: VaultPlace
  /** The file to which the vault writes its log. */
  readonly logFile: string
  /** Called with a message for a person when the vault ends unexpectedly. */
  readonly onUnexpectedExit: (message: string) => void
}

/**
 * Starts the vault and the service, and gives the vault the service's credential. No setting of the user's own vault is used.
 * @returns a function that ends both
 * @throws {Error} with the reason for a person; nothing is left running
 */
export async function startVault({
  place,
  logFile,
  onUnexpectedExit,
}: WorkspaceVaultOptions): Promise<() => Promise<void>> {
  const { doors, folder, file } = place
  const key = openKey(place)
  let end
  try {
    await assertFree(doors)
    end = await startOwnProgram({
      ...{ command: 'vault', name: 'The vault', onUnexpectedExit },
      env: {
        // The environment of this process may have what the vault refuses, such as NODE_OPTIONS or a proxy.
        PATH: process.env['PATH'],
        VAULT_FILE: file,
        VAULT_STATE_DIR: folder,
        VAULT_SOCKETS: doors,
        VAULT_AGENTS: `${AGENT}:${process.getuid?.() ?? 0}`,
        VAULT_MASTER_KEY_FD: String(FIRST_FREE_DESCRIPTOR),
      },
      ready: agentSocket(doors, AGENT), // opened last, when the file could be read
      logFile,
      descriptor: key,
    })
  } finally {
    closeSync(key)
  }
  try {
    const service = await connectService(doors)
    return async () => {
      await end()
      await service.close()
    }
  } catch (error) {
    await end()
    throw error
  }
}

/** Opens the key's file, which is made once. @throws {Error} when it is missing beside a file that only it opens */
function openKey({ folder, file, keyFile }: VaultPlace): number {
  if (existsSync(file) && !existsSync(keyFile))
    throw new Error(
      `${keyFile} is missing, and nothing else opens ${file}. Put it back, or delete ${folder} and begin anew.`,
    )
  ensureSecretFile(keyFile, () => randomBytes(32).toString('base64'))
  return openSync(keyFile, 'r')
}

/** Waits for the end of a vault whose parent was killed a moment ago. @throws {Error} when it does not end */
async function assertFree(doors: string): Promise<void> {
  const path = ownerSocket(doors)
  const end = performance.now() + EARLIER_MS
  while (await canConnect({ path }, ALIVE_MS)) {
    if (performance.now() >= end)
      throw new Error(`Another vault has ${path} already. End that process first.`)
    await delay(RETRY_MS)
  }
}

/** Starts the service, and makes its entry anew or gives it the new credential. */
async function connectService(doors: string): Promise<Running> {
  const before = await entryOf(doors)
  const credential = `demo-${randomBytes(24).toString('base64url')}`
  // On the same port again if possible, because the origin of an entry cannot be changed.
  const port = before === undefined ? undefined : Number(new URL(before.origin).port)
  const service = await startDemoService({ credential, port })
  try {
    if (before?.origin === service.url) {
      await askOwner(doors, `/v1/entries/${DEMO}/rotate`, { value: credential })
      return service
    }
    if (before !== undefined) await askOwner(doors, `/v1/entries/${DEMO}/remove`, {})
    await askOwner(doors, '/v1/entries', {
      ...{ service: DEMO, value: credential, origin: service.url, allow_private: true },
      ...{ slot: 'Authorization: Bearer {}', methods: ['GET'] },
      paths: ['/echo', '/events', '/hello'],
      grants: before?.grants ?? [AGENT],
      note: 'The made-up service of npm start',
    })
    return service
  } catch (error) {
    await service.close()
    throw error
  }
}

/** The entry of an earlier start. */
async function entryOf(doors: string): Promise<EntryView | undefined> {
  const { entries } = (await askOwner(doors, '/v1/entries')) as { entries: EntryView[] }
  return entries.find(({ service }) => service === DEMO)
}

/** Asks the owner's door: with POST when there is a body. @throws {Error} with the vault's own words when it refuses */
async function askOwner(doors: string, path: string, body?: object): Promise<unknown> {
  const method = body === undefined ? 'GET' : 'POST'
  const { status, bytes } = await askDoor(ownerSocket(doors), { method, path, body, ...ANSWER })
  const answer = JSON.parse(bytes.toString('utf8')) as { detail?: string }
  if (status < 200 || status > 299)
    throw new Error(`The vault refused: ${answer.detail ?? `it answered ${status}`}`)
  return answer
}
