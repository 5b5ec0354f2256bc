/** How does the stand-in agent use a credential that it does not hold? As every agent: with a lease of the vault, which it gives back. */
import { askForLease, revokeLease } from '../src/vault/agent-client.ts'
import { askDoor } from '../src/services/ask-door.ts'
import { agentSocket, SERVICE_PREFIX } from '../src/vault/protocol.ts'
import { AGENT, DEMO } from './vault-place.ts'

const PATH = '/hello'
const ANSWER = { limitMs: 5000, maxBytes: 64 * 1024 }

/**
 * Asks the made-up service of `npm start` through the vault.
 * @param doors the folder of the vault's doors
 * @returns whether the service answered; false also when the vault does not run, or refuses
 */
export async function askThroughVault(doors: string): Promise<boolean> {
  const socket = agentSocket(doors, AGENT)
  try {
    const { token } = await askForLease(socket, { service: DEMO, methods: ['GET'], paths: [PATH] })
    const path = `${SERVICE_PREFIX}${DEMO}${PATH}`
    const headers = { Authorization: `Bearer ${token}` }
    const { status } = await askDoor(socket, { method: 'GET', path, headers, ...ANSWER })
    await revokeLease(socket, token)
    return status === 200
  } catch {
    return false
  }
}
