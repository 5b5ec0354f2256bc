/** How does a device reach the workspace of `npm start`? Over a relay on this machine and a link, which are started beside everything else. */
import { readFileSync, statSync, writeFileSync } from 'node:fs'
import type { Environment } from '../src/config/load.ts'
import { startOwnProgram } from './own-program.ts'
import { SOCKET_PATH_BYTES } from './private-folder.ts'
import { relayPlace, type RelayPlace } from './relay-place.ts'

/** The port of a relay, which it takes when no other program has it. */
const RELAY_PORT = 7654

/** The relay and the link of a workspace. */
export interface RelayBeside {
  /** What the gateway is told. */
  readonly settings: Environment
  /** Resolves with why no relay runs, for a person; null when it runs, undefined when the user has a link of their own. Never rejects. */
  readonly problem: Promise<string | null | undefined>
  /**
   * Starts the link, without waiting for it, when the gateway listens.
   * @param origin where the workspace is reached; empty when the gateway listens on a Unix socket
   */
  readonly startLink: (origin: string) => void
  readonly close: () => Promise<void>
}

/**
 * Starts the relay without waiting for it. No setting of a relay or link of the user's own is used.
 * @param settings the workspace's, with its state folder
 * @param onTrouble called with a message for a person
 */
export function startRelayBeside(
  settings: Environment,
  onTrouble: (message: string) => void,
): RelayBeside {
  const nothing = async (): Promise<void> => {}
  if (settings['GATEWAY_LINK_SOCKET'] !== undefined)
    return { settings: {}, problem: Promise.resolve(undefined), startLink() {}, close: nothing }
  const place = relayPlace(settings)
  if (Buffer.byteLength(place.ownerSocket) > SOCKET_PATH_BYTES) {
    const problem = `The path ${place.ownerSocket} is too long for a socket. A shorter GATEWAY_STATE_DIR makes it shorter.`
    return { settings: {}, problem: Promise.resolve(problem), startLink() {}, close: nothing }
  }
  const relay = startRelay(place, onTrouble).then(
    ({ url, close }) => ({ url, close, problem: null }),
    (error: Error) => ({ url: '', close: nothing, problem: error.message }),
  )
  let endLink = Promise.resolve(nothing)
  let isClosing = false
  return {
    settings: {
      GATEWAY_LINK_SOCKET: place.gatewaySocket,
      GATEWAY_LINK_OWNER_SOCKET: place.ownerSocket,
    },
    problem: relay.then(({ problem }) => problem),
    startLink(origin) {
      endLink = relay.then(async ({ url, problem }) => {
        if (problem !== null || isClosing) return nothing
        return await startLink(place, { relay: url, origin, settings, onTrouble }).catch(
          (error: Error) => {
            if (!isClosing) onTrouble(error.message)
            return nothing
          },
        )
      })
    },
    async close() {
      isClosing = true
      const end = await endLink
      await end()
      await (await relay).close()
    },
  }
}

/** Starts the relay on the port that it had, else on its usual one, else on any. @throws {Error} with the reason for a person */
async function startRelay(place: RelayPlace, onTrouble: (message: string) => void) {
  const had = readPort(place.portFile)
  const ports = had === undefined ? [RELAY_PORT, 0] : [had, 0]
  let failure: unknown
  for (const port of ports) {
    try {
      return await startRelayOn(port, place, onTrouble)
    } catch (error) {
      failure = error // the port is another program's, most likely
    }
  }
  throw failure
}

async function startRelayOn(
  wanted: number,
  { relayLog, portFile }: RelayPlace,
  onUnexpectedExit: (message: string) => void,
) {
  const from = sizeOf(relayLog)
  let port: number | undefined
  const close = await startOwnProgram({
    ...{ command: 'relay', name: 'The relay', logFile: relayLog, onUnexpectedExit },
    env: {
      ...programEnvironment(),
      RELAY_HOST: '127.0.0.1',
      RELAY_PORT: String(wanted),
      RELAY_DRAIN_SECONDS: '0',
    },
    ready: () => (port = portIn(relayLog, from)) !== undefined,
  })
  writeFileSync(portFile, String(port), { mode: 0o600 })
  return { url: `ws://127.0.0.1:${port}`, close }
}

interface LinkParts {
  readonly relay: string
  readonly origin: string
  readonly settings: Environment
  readonly onTrouble: (message: string) => void
}

async function startLink(
  { gatewaySocket, ownerSocket, folder, linkLog }: RelayPlace,
  { relay, origin, settings, onTrouble }: LinkParts,
): Promise<() => Promise<void>> {
  return await startOwnProgram({
    ...{ command: 'link', name: 'The link', logFile: linkLog, onUnexpectedExit: onTrouble },
    env: {
      ...programEnvironment(),
      ...(origin === '' ? {} : { LINK_PAGE_URL: `${origin}/_gateway/remote/` }),
      LINK_RELAY_URL: relay,
      LINK_STATE_DIR: folder,
      LINK_OWNER_SOCKET: ownerSocket,
      GATEWAY_LINK_SOCKET: gatewaySocket,
      GATEWAY_WORKSPACE: settings['GATEWAY_WORKSPACE'],
      GATEWAY_DOMAIN: settings['GATEWAY_DOMAIN'],
    },
    ready: ownerSocket,
  })
}

/** The environment of this process may have settings of another relay or link, and secrets that neither needs. */
function programEnvironment(): Environment {
  return { PATH: process.env['PATH'] }
}

function readPort(file: string): number | undefined {
  try {
    const port = Number(readFileSync(file, 'utf8'))
    return Number.isInteger(port) && port > 0 && port <= 65_535 ? port : undefined
  } catch {
    return undefined
  }
}

function sizeOf(file: string): number {
  return statSync(file, { throwIfNoEntry: false })?.size ?? 0
}

/** The port that the relay says it has, in what it has written to its log behind an offset; undefined as long as it says none. */
function portIn(log: string, from: number): number | undefined {
  const lines = readFileSync(log).subarray(from).toString('utf8').split('\n')
  const line = lines.find((text) => text.includes('"msg":"relaying"') && text.endsWith('}'))
  return line === undefined ? undefined : (JSON.parse(line) as { port: number }).port
}
