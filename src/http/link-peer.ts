/** Who is at the other end of a connection that the link has handed over? A paired device, or the link itself. */
import { formatAddress, type Client } from './address.ts'
import type { DeviceLine, LinkLine } from './link-line.ts'

/** The other end of a connection of the link. */
export interface LinkPeer {
  /** The device; undefined on a connection of the link itself. */
  readonly device: DeviceLine | undefined
  /** The client of every request on the connection. Fields of a request never change it. */
  readonly client: Client
  /** How many bytes stood before the first byte of a request: the link's own line, with its line feed. */
  readonly lineLength: number
}

declare module 'net' {
  interface Socket {
    /** Set on connections of the link, before any byte of a request is read. */
    linkPeer?: LinkPeer
  }
}

const LINK_ITSELF: Client = {
  ...{ address: 'link', budgetKey: 'link', sharedKey: 'link', viaProxy: false },
}

/** The other end of a connection with this first line. @param lineLength bytes, with the line feed */
export function linkPeerOf(line: LinkLine, lineLength: number): LinkPeer {
  if (line.kind === 'link') return { device: undefined, client: LINK_ITSELF, lineLength }
  const key = `device:${line.device}`
  return {
    ...{ device: line, lineLength },
    client: {
      ...{ address: key, budgetKey: key, viaProxy: false },
      sharedKey: key, // a device shares its budget with nobody, also while the table of limits is full
      forwardedAs: addressOfDevice(line.device),
    },
  }
}

/**
 * The address that services are told of a device, because they read addresses only: one of 100::/64, which no network routes (RFC 6666),
 * with the first half of the device's id. A service that could not read it might take the request for one of this machine.
 */
function addressOfDevice(device: string): string {
  const prefix = [0x01, 0x00, 0, 0, 0, 0, 0, 0]
  return formatAddress([...prefix, ...Buffer.from(device, 'base64url').subarray(0, 8)])
}
