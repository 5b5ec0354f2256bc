/** How is the text of a vault's setting parsed? By the function of its kind here. Each throws an error with the problem as text. */
import { listOf } from './setting.ts'

/** An agent that has a door of its own. */
export interface Agent {
  /** The name of the agent's folder and of the agent in grants and in the audit log. */
  readonly name: string
  /** The user that the agent runs under. */
  readonly uid: number
}

/** The size of the vault's key, in bytes. */
const MASTER_KEY_BYTES = 32

/** The name of the owner's folder and of the owner in the audit log. No agent may have it. */
export const OWNER_NAME = 'owner'

const AGENT = /^([a-z][a-z0-9-]{0,31}):(0|[1-9][0-9]{0,9})$/

/** The largest uid of Linux; the number after it means "no user". */
const MAX_UID = 4_294_967_294

const agentList = listOf((element) => {
  const [, name, digits] = AGENT.exec(element) ?? []
  if (name === undefined || Number(digits) > MAX_UID)
    throw new Error(`"${element.slice(0, 50)}" is not a name and a uid, such as coder:1001`)
  if (name === OWNER_NAME) throw new Error(`"${element}" has the name of the owner's own door`)
  return { name, uid: Number(digits) }
})

/** Parses the list of agents, such as `coder:1001,ops:1002`. An empty text is an empty list. */
export function parseAgents(text: string): readonly Agent[] {
  if (text === '') return []
  const agents = agentList(text)
  const names = agents.map(({ name }) => name)
  const twice = names.find((name, i) => names.indexOf(name) !== i)
  if (twice !== undefined) throw new Error(`"${twice}" is in it twice`)
  return agents
}

/** Parses the key of the vault: 32 bytes in hex or base64 (both alphabets, padding optional). The message never has the text. */
export function parseMasterKey(text: string): Buffer {
  const key = decodeKey(text)
  if (key?.length !== MASTER_KEY_BYTES) throw new Error(`is not ${MASTER_KEY_BYTES} bytes`)
  // Random bytes are never all alike: such a key is an example or a mistake.
  if (key.every((byte) => byte === key[0])) throw new Error('is one byte repeated, and not random')
  return key
}

function decodeKey(text: string): Buffer | undefined {
  if (/^[0-9a-fA-F]{64}$/.test(text)) return Buffer.from(text, 'hex')
  if (!/^[A-Za-z0-9+/_-]{43}=?$/.test(text)) return undefined
  const key = Buffer.from(text, 'base64')
  // Node ignores the spare bits of the last character; a text that has some is not the encoding of any key.
  const again = key.toString('base64url')
  return again === text.replace(/=$/, '').replaceAll('+', '-').replaceAll('/', '_')
    ? key
    : undefined
}
